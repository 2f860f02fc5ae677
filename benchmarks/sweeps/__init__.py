"""Attaching and exporting, tried on every model family of a library."""
