"""Whole datasets prepared for training: every face found, aligned and stored once, with its difference levels.

The work is spread over processes, survives being killed, and gives the same bytes however often it was interrupted.
"""
