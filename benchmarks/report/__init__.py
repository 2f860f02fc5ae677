"""The report: one page of what everything costs and how fast it is, drawn from committed results, see __main__.py."""
