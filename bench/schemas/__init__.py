"""Measures the schema layer on public schemas."""
