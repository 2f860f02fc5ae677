"""What tables of results say, in the documentation and in the report alike: each only lays it out in its format."""
