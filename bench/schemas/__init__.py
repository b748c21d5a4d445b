"""Measures the schema layer on schemas that no one here wrote."""
