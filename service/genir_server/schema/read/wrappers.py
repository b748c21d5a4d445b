"""Finds the schema in what people send to other APIs: a schema with a name and settings around."""

from __future__ import annotations

from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import ASSERTIONS

_WRAPPERS = (
    *("response_format", "json_schema", "function", "schema", "parameters"),
    *("input_schema", "inputSchema"),
)
_WRAPPER_TYPES = ("json_schema", "function")
_MAX_LEVELS = 3


def wrapped_schema(schema: object) -> str | None:
    """The pointer to the schema inside a wrapper; None if this is no wrapper.

    A wrapper has no keyword of its own that matters for validity, except that its `type` may name
    the kind of wrapper.
    """
    pointer = ""
    for _ in range(_MAX_LEVELS):
        if not isinstance(schema, dict) or not _is_silent(schema):
            break
        name = next((n for n in _WRAPPERS if isinstance(schema.get(n), dict)), None)
        if name is None:
            break
        pointer, schema = child(pointer, name), schema[name]
    return pointer if pointer and isinstance(schema, dict) and not _is_silent(schema) else None


def _is_silent(schema: dict[str, object]) -> bool:
    said = schema.keys() & ASSERTIONS
    return not said or (said == {"type"} and schema["type"] in _WRAPPER_TYPES)
