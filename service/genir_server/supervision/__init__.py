"""The life of a server: its phase, starting an engine, watching it and replacing it."""
