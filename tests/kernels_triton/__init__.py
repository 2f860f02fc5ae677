"""Tests of the Triton kernels, without a GPU: interpreted, and compiled for devices that are not there."""
