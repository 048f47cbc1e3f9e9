"""Weights that are made on this machine: kept once and whole, by scripts in their own processes."""
