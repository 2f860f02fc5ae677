"""Figures that are drawn: attention over photographs, and the steps to a difference map."""
