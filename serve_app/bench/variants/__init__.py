"""Variants of one model side by side: as a document and as a table."""
