"""Refuses schemas that would cost an engine or a validator too much."""
