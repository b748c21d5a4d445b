"""Refuses schemas that cost the engine too much, and finds those that cost a validator too much."""
