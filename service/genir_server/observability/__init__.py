"""Observability: call records, and the log, metrics and traces made from them."""
