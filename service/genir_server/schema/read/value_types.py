"""The types of JSON values, with numbers told apart by whether they are whole."""

from __future__ import annotations

TYPES = {
    "null": frozenset({"null"}),
    "boolean": frozenset({"boolean"}),
    "integer": frozenset({"integer"}),
    "number": frozenset({"integer", "fraction"}),
    "string": frozenset({"string"}),
    "array": frozenset({"array"}),
    "object": frozenset({"object"}),
}
"""The types of value that each `type` of a schema allows."""

ALL_TYPES: frozenset[str] = frozenset().union(*TYPES.values())


def type_of(value: object) -> str:
    """The type of a JSON value; numbers with a fraction are `fraction`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if float(value).is_integer() else "fraction"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
