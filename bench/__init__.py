"""Measurements; see the docstring of each package for its command."""
