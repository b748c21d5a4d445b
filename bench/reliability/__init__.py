"""Measures the server beyond its capacity and under faults."""
