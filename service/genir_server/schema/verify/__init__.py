"""Checks values against the caller's own schema, with jsonschema-rs."""
