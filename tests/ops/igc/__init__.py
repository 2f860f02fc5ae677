"""Tests of the operations that CEDNN's blocks are computed by."""
