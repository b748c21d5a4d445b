"""The engine: the only package that imports vllm, behind `genir_server.engine.protocol`."""
