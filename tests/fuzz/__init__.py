"""Calls and files drawn at random: whatever is given ends in a result or in an exception that is documented."""
