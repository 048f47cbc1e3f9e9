"""When a reply will be there, as a distribution: what is predicted, and what that was worth."""
