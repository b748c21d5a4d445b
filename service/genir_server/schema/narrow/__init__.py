"""Bounds what a model may write where the schema sets no bound."""
