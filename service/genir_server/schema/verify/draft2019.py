"""A form of draft 2019-09 schemas in which `contains` does not count for `unevaluatedItems`.

From draft 2020-12 on, items that match `contains` are evaluated. jsonschema-rs applies that to
2019-09 as well, where they are not. What is inside `not` counts in neither draft, so `contains`
moves into a double negation, which accepts the same arrays.
"""

from __future__ import annotations

import json
from typing import TypeAlias

from genir_server.schema.read.vocabulary import LITERALS, MAPS_OF_SUBSCHEMAS

Path: TypeAlias = "tuple[str | int, ...]"
"""The keys and indexes from a schema's root to one of its parts."""

_MOVED = ("contains", "minContains", "maxContains")


def standard_form(
    schema: dict[str, object] | bool | str,
) -> tuple[dict[str, object] | bool | str, dict[Path, Path]]:
    """An equivalent schema that jsonschema-rs checks as draft 2019-09 says.

    Args:
        schema: JSON text or parsed; it is not changed.

    Returns:
        The form, and where each `contains` was, by the place of the `not` that replaces it. It is
        `schema` itself where `unevaluatedItems` and `contains` do not both occur.

    """
    # A parsed copy, whatever was given.
    root = json.loads(schema if isinstance(schema, str) else json.dumps(schema))
    objects: list[tuple[Path, dict[str, object]]] = []
    pending: list[tuple[Path, object, bool]] = [((), root, False)]
    while pending:
        path, item, is_map = pending.pop()
        if isinstance(item, list):
            pending.extend(((*path, index), part, False) for index, part in enumerate(item))
        elif isinstance(item, dict):
            if not is_map:
                objects.append((path, item))
            pending.extend(
                ((*path, key), part, not is_map and key in MAPS_OF_SUBSCHEMAS)
                for key, part in item.items()
                if is_map or key not in LITERALS
            )
    holders = [(path, item) for path, item in objects if "contains" in item]
    if not holders or not any("unevaluatedItems" in item for _, item in objects):
        return schema, {}
    moved: dict[Path, Path] = {}
    for path, item in holders:
        counted = {keyword: item.pop(keyword) for keyword in _MOVED if keyword in item}
        present = item.get("allOf")
        parts = present if isinstance(present, list) else []
        moved[*path, "allOf", len(parts), "not"] = (*path, "contains")
        item["allOf"] = [*parts, {"not": {"not": counted}}]
    return root, moved
