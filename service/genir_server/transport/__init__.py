"""gRPC: servicer, interceptors, conversion. Thin."""
