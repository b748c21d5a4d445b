"""Removes redundant keywords from engine schemas.

This makes them smaller and avoids intersections, some of which the engine cannot compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.relax.disjoint import possible_types
from genir_server.schema.relax.negation import literal_key

if TYPE_CHECKING:
    from genir_server.schema.relax.context import Context, EngineSchema


def simplify(context: Context) -> None:
    """Simplifies every converted schema in place."""
    for schema in context.converted.values():
        if isinstance(schema, dict):
            _drop_implied_type(context, schema)
            _drop_repeated_properties(context, schema)


def _drop_implied_type(context: Context, schema: dict[str, object]) -> None:
    """Drops a `type` beside alternatives that are all of that type."""
    options = schema.get("anyOf", [{"$ref": schema["$ref"]}] if "$ref" in schema else None)
    if "type" not in schema or not isinstance(options, list) or not options:
        return
    if schema.keys() - {"type", "anyOf", "$ref"} or ("anyOf" in schema and "$ref" in schema):
        return
    allowed = possible_types({"type": schema["type"]})
    if all(_types(context, option) <= allowed for option in options):
        del schema["type"]


def _types(context: Context, schema: EngineSchema) -> frozenset[str]:
    resolved = context.resolve(schema)
    return possible_types(resolved if isinstance(resolved, dict) else {})


def _drop_repeated_properties(context: Context, schema: dict[str, object]) -> None:
    """Drops the schema of a property if a matching pattern has the same one."""
    properties, patterns = schema.get("properties"), schema.get("patternProperties")
    if not isinstance(properties, dict) or not isinstance(patterns, dict):
        return
    for name, part in properties.items():
        matching = [
            schema for pattern, schema in patterns.items() if context.oracle.matches(pattern, name)
        ]
        if isinstance(part, dict) and any(literal_key(m) == literal_key(part) for m in matching):
            properties[name] = True
