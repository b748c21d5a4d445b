"""A faster start on CPUs: the engine's processes are forked from one that has vLLM imported."""
