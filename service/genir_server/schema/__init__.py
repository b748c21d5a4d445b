"""Schemas: read, check, prepare and verify. Knows neither gRPC nor vLLM."""
