"""The papers' printed figures compared with ours (``ledger``), and their testable claims (``claims``)."""
