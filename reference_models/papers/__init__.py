"""What the papers print and claim: the ledger of their figures, and the claims that can be tested."""
