"""Decides whether a value is valid for the caller's own schema."""
