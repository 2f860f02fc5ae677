"""Tests of the operations that the layers share."""
