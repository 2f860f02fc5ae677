"""Named tuples, sooner."""

from __future__ import annotations

make = tuple.__new__
"""Makes a named tuple of its values, sooner than its own constructor, which is a function of Python."""
