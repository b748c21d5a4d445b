"""The phase of a server: starts the engine, watches it, restarts it, and stops in order."""
