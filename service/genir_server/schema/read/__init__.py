"""Reads a schema's text into a document: draft, vocabulary, references, JSON Pointers."""
