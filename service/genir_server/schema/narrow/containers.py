"""Bounds on arrays and objects, and on parts of them that may be anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.pointer import child
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from genir_server.schema.narrow.context import Narrowing, Schema

# The engine has no room for more.
_MAX_ITEMS = 1_000
_ITEMS_BESIDE_CONTAINS = 24


def bound_array(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Sets `maxItems`."""
    prefix = schema.get("prefixItems")
    named = len(prefix) if isinstance(prefix, list) else 0
    max_items = max(narrowing.bounds.array_items, named, 2 * narrowing.minimum("minItems"))
    if narrowing.verifier_may_require_items(pointer):
        max_items = max(max_items, _ITEMS_BESIDE_CONTAINS)
    if "maxItems" in schema and narrowing.keeps(schema["maxItems"], max_items):
        return
    own = schema.capped_items if isinstance(schema, Part) else None
    if own is not None and not narrowing.bounds.over_own_bounds:
        max_items = min(own, max(_MAX_ITEMS, narrowing.minimum("minItems")))
    schema["maxItems"] = max_items
    narrowing.note(pointer, "maxItems", f"at most {max_items} items")


def bound_object(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Closes an object or limits the number of its properties."""
    properties = schema.get("properties")
    named: Schema = properties if isinstance(properties, dict) else {}
    names = schema.get("required")
    required = names if isinstance(names, list) else []
    rest = schema.get("additionalProperties", True)
    min_properties = narrowing.minimum("minProperties")
    single_keys = narrowing.bounds.single_keys
    if single_keys and not named and not required and min_properties <= 1:
        # Also where additionalProperties is false: a pattern may leave keys open.
        schema["maxProperties"] = min(1, _int_or_1(schema.get("maxProperties", 1)))
        # Without a notice the schema would count as not narrowed.
        narrowing.note(pointer, "maxProperties", "at most one property")
    elif rest is False:
        return
    elif _can_be_closed(narrowing, schema, pointer):
        undescribed = [name for name in required if name not in named]
        if undescribed:
            each = narrowing.added.shared(rest) if len(undescribed) > 1 else rest
            schema["properties"] = {**named, **dict.fromkeys(undescribed, each)}
        schema["additionalProperties"] = False
        narrowing.note(pointer, "additionalProperties", "only the properties that are named")
    else:
        max_properties = max(narrowing.bounds.map_properties, 2 * min_properties)
        _limit_properties(narrowing, schema, pointer, max_properties + len(named) + len(required))


def _can_be_closed(narrowing: Narrowing, schema: Schema, pointer: str) -> bool:
    """Whether an object can do with the properties that it names and requires."""
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    if not isinstance(properties, dict) or not isinstance(required, list):
        return False
    if narrowing.bounds.single_keys:
        wanted = bool(properties or required)
    else:
        wanted = bool(properties) and narrowing.bounds.close_objects
        wanted = wanted and "additionalProperties" not in schema
    possible = sum(part is not False for part in properties.values())
    possible += sum(name not in properties for name in required)
    return (
        wanted
        and "patternProperties" not in schema
        and not narrowing.verifier_may_require_properties(pointer)
        and narrowing.minimum("minProperties") <= possible
    )


def _limit_properties(
    narrowing: Narrowing, schema: Schema, pointer: str, max_properties: int
) -> None:
    if "maxProperties" in schema and narrowing.keeps(schema["maxProperties"], max_properties):
        return
    properties = schema.get("properties")
    skeleton: Schema = {
        "type": "object",
        "properties": dict.fromkeys(properties if isinstance(properties, dict) else (), True),
        "required": schema.get("required") or [],
        "maxProperties": max_properties,
    }
    if narrowing.oracle.compiles(skeleton):
        schema["maxProperties"] = max_properties
        narrowing.note(pointer, "maxProperties", f"at most {max_properties} properties")


def bound_free_parts(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Bounds the parts of an array or object that may be anything."""
    types = schema.get("type")
    names = types if isinstance(types, list) else [types]
    if "object" in names and schema.get("additionalProperties", True) is True:
        schema["additionalProperties"] = narrowing.free_value(
            child(pointer, "additionalProperties")
        )
    prefix = schema.get("prefixItems")
    # No items can follow where maxItems ends with prefixItems.
    may_have_items = not isinstance(prefix, list) or schema.get("maxItems") != len(prefix)
    if "array" in names and schema.get("items", True) in (True, {}) and may_have_items:
        schema["items"] = narrowing.free_value(child(pointer, "items"))
    for keyword in ("properties", "patternProperties"):
        parts = schema.get(keyword)
        if isinstance(parts, dict):
            for key, part in parts.items():
                if part in (True, {}) and not (
                    keyword == "properties" and _matches_pattern(narrowing, schema, key)
                ):
                    parts[key] = narrowing.free_value(child(pointer, keyword, key))
    if isinstance(prefix, list):
        for index, part in enumerate(prefix):
            if part in (True, {}):
                prefix[index] = narrowing.free_value(child(pointer, "prefixItems", index))


def _matches_pattern(narrowing: Narrowing, schema: Schema, name: str) -> bool:
    """Whether a pattern in `patternProperties` matches the name of a property.

    The pattern's schema then bounds the property. If that schema is recursive, the engine could not
    combine it with another one.
    """
    patterns = schema.get("patternProperties")
    return isinstance(patterns, dict) and any(
        narrowing.oracle.matches(pattern, name) for pattern in patterns
    )


def _int_or_1(value: object) -> int:
    return value if isinstance(value, int) else 1
