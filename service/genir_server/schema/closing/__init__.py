"""Ends a half-written value within a budget of tokens.

`position` reads where the written text ends. `alternatives` reads the engine schema. `values` and
`closed` make schemas for small values of its parts, and `closing_schema` combines them for what is
still to be written. `smallest_text` ends the value without a model, and `plan` decides how much of
the text is kept.
"""
