"""Replacements of vLLM functions, each listed with its reason."""
