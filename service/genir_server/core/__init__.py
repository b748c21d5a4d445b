"""What genir does, knowing neither gRPC nor vLLM: validate, prompt, generate, normalize, verify."""
