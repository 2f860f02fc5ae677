"""Tests of the layers: the contract that all of them keep, and what each one computes."""
