"""Takes a schema out of the ``response_format`` of OpenAI's API, which wraps it. Pure.

To a reader of JSON Schema the wrapper itself is a schema: one of unknown keywords, which every
value satisfies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TYPE = "json_schema"
_WRAPPER_KEYS = frozenset({"type", "name", "description", "strict", "schema"})


def unwrapped(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema inside the wrapper; a schema that is not wrapped is returned unchanged.

    A wrapper is ``{"type": "json_schema", "json_schema": {...}}``, or an object with the keys
    schema and name, and no others than type, description and strict.
    """
    inner = schema.get(_TYPE)
    if schema.get("type") == _TYPE and isinstance(inner, Mapping):
        schema = inner
    inner = schema.get("schema")
    if isinstance(inner, Mapping) and "name" in schema and schema.keys() <= _WRAPPER_KEYS:
        return inner
    return schema


def unwrapped_text(text: str) -> str:
    """Like `unwrapped`, of JSON text. A text without a wrapper is returned unchanged."""
    if '"schema"' not in text:
        return text
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return text  # The server says what is wrong with it.
    if not isinstance(schema, Mapping):
        return text
    inner = unwrapped(schema)
    return text if inner is schema else json.dumps(inner, ensure_ascii=False)
