"""vLLM behind the engine protocol: start, arguments, conversion, processes."""
