"""How fast a replica is: measured once, kept for the next start."""
