"""Runs work on callers' data in worker processes, within limits on time and memory."""
