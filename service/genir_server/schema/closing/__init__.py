"""Ends a half-written value within a budget of tokens."""
