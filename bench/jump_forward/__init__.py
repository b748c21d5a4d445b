"""Measures jump-forward against vLLM as it is."""
