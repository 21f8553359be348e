"""What GPU time costs: prices, a ledger that is never rewritten, statements, and budgets."""
