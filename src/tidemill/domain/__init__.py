"""Nouns, states and rules. No input or output; imports nothing of ours but the errors."""
