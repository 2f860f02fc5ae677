"""How fast operations, layers, networks and exported files are, beside those of other libraries."""
