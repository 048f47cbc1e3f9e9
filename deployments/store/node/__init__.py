"""Models on one node: the cache, its locks, and what a replica does before it starts."""
