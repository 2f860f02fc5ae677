"""The generated parts of README and documentation: tables from the registry, the networks and their results.

A part stands between ``<!-- generated: NAME ARGUMENT -->`` and ``<!-- end -->``; whatever is between is replaced.
"""
