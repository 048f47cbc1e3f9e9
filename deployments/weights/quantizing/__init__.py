"""Makes models smaller: a plan, its cost, and one script for each quantizer."""
