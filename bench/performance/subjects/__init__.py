"""The measured subjects: each is one way to get an IR from the same engine."""
