"""Hostile schemas against a real server, while others use it."""
