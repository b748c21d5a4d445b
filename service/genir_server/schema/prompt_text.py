"""The text of a schema for the prompt."""

from __future__ import annotations

import json

from genir_server.schema.read.vocabulary import (
    LISTS_OF_SUBSCHEMAS,
    MAPS_OF_SUBSCHEMAS,
    SINGLE_SUBSCHEMAS,
)

_ANNOTATIONS_FOR_PEOPLE = frozenset(
    {"description", "title", "$comment", "default", "examples", "markdownDescription"}
)
# Small models copy these into their answers.
_IDENTIFIERS = frozenset({"$schema", "$id"})
_ENGINE_OPTIONS = frozenset({"x-guidance"})
_SCHEMA_KEYWORDS = MAPS_OF_SUBSCHEMAS | LISTS_OF_SUBSCHEMAS | SINGLE_SUBSCHEMAS


def prompt_text(schema: dict[str, object] | bool, *, descriptions: bool) -> str:
    """Compact JSON text of a schema, with its keys in the original order.

    Args:
        schema: the caller's schema.
        descriptions: whether descriptions, titles, comments, defaults, examples, `$schema` and
            `$id` are kept.

    """
    dropped = (
        _ENGINE_OPTIONS
        if descriptions
        else _ENGINE_OPTIONS | _ANNOTATIONS_FOR_PEOPLE | _IDENTIFIERS
    )
    kept = _without(schema, dropped) if isinstance(schema, dict) else schema
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _without(root: dict[str, object], dropped: frozenset[str]) -> dict[str, object]:
    result: dict[str, object] = {}
    # What is still to be copied: source, copy, and whether the keys are keywords (or names).
    pending: list[tuple[dict[str, object], dict[str, object], bool]] = [(root, result, True)]
    while pending:
        source, copy, keywords = pending.pop()
        for key, value in source.items():
            if keywords and key in dropped:
                continue
            if isinstance(value, dict) and (not keywords or key in _SCHEMA_KEYWORDS):
                inner: dict[str, object] = {}
                copy[key] = inner
                pending.append((value, inner, not keywords or key not in MAPS_OF_SUBSCHEMAS))
            elif isinstance(value, list) and keywords and key in LISTS_OF_SUBSCHEMAS:
                items: list[object] = []
                copy[key] = items
                for item in value:
                    if isinstance(item, dict):
                        inner = {}
                        items.append(inner)
                        pending.append((item, inner, True))
                    else:
                        items.append(item)
            else:
                copy[key] = value
    return result
