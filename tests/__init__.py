"""The tests of attnzoo and reference_models."""
