"""Finds the parts of an engine schema, and which of them share a value with other parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, object]

IN_PLACE = ("$ref", "allOf", "anyOf")
"""Keywords that apply other parts of the schema to the same value."""

_BESIDE_REFERENCE = {"$ref", "$defs"}


def find_parts(root: Schema, named: Schema) -> tuple[list[tuple[Schema, str]], set[int]]:
    """Finds all parts of a schema that are reached from its root.

    Args:
        root: the schema.
        named: its `$defs`.

    Returns:
        The parts with their pointers into the caller's schema, and the ids of those that share a
        value with another part somewhere. A bound on these could contradict the other part.

    """
    found: list[tuple[Schema, str]] = []
    shared: set[int] = set()
    seen: set[tuple[int, bool]] = set()
    pending: list[tuple[Schema, str, bool]] = [(root, "", True)]
    while pending:
        schema, pointer, whole = pending.pop()
        if isinstance(schema, Part) and schema.origin is not None:
            pointer = schema.origin
        if (id(schema), whole) in seen:
            continue
        seen.add((id(schema), whole))
        found.append((schema, pointer))
        if not whole:
            shared.add(id(schema))
        pending.extend((part, pointer, alone) for part, alone in _parts(schema, whole=whole))
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = named.get(reference.rpartition("/")[2]) if "/" in reference else root
            if isinstance(target, dict):
                pending.append((target, pointer, whole and schema.keys() <= _BESIDE_REFERENCE))
    return found, shared


def _parts(schema: Schema, *, whole: bool) -> Iterator[tuple[Schema, bool]]:
    alone = whole and not (schema.keys() - {"anyOf", "$defs"})
    for keyword in ("anyOf", "allOf"):
        parts = schema.get(keyword)
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, dict):
                    yield part, alone and keyword == "anyOf"
    # Several parts may have schemas for the same property.
    inner = whole and not any(keyword in schema for keyword in IN_PLACE)
    for part in _children(schema):
        if isinstance(part, dict):
            yield part, inner


def _children(schema: Schema) -> Iterator[object]:
    for holder in ("properties", "patternProperties"):
        parts = schema.get(holder)
        if isinstance(parts, dict):
            yield from parts.values()
    prefix = schema.get("prefixItems")
    if isinstance(prefix, list):
        yield from prefix
    for holder in ("additionalProperties", "items"):
        if holder in schema:
            yield schema[holder]
