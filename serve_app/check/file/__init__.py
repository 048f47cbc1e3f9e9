"""A Serve file: read with its lines, its keys and values checked, every problem at once."""
