"""Draws figures: attention over photographs, and the steps to a difference map."""
