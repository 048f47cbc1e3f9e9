"""A tier: the model it runs, whether that fits its accelerators, and how fast it will be."""
