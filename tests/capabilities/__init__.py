"""What every layer, attached models and the four networks can do, a check for each cell of the table."""
