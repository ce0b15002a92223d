"""People and programs that may come in: tokens and what they may do."""
