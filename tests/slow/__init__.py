"""Tests that take minutes and are not part of `make test`: `pytest tests/slow`."""
