"""Code that benches and tests share: server processes, the tiny model, certificates."""
