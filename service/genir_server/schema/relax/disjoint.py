"""Proves that no value satisfies two engine schemas at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.value_types import ALL_TYPES, TYPES, type_of
from genir_server.schema.relax.negation import literal_key

if TYPE_CHECKING:
    from genir_server.schema.relax.context import Context, EngineSchema

_MAX_LEVELS = 4
_MAX_OPTIONS = 12


def disjoint(
    context: Context, first: EngineSchema, second: EngineSchema, levels: int = _MAX_LEVELS
) -> bool:
    """Whether certainly no value satisfies both schemas. Looks `levels` levels deep."""
    first, second = context.resolve(first), context.resolve(second)
    if first is False or second is False:
        return True
    if not isinstance(first, dict) or not isinstance(second, dict) or levels == 0:
        return False
    if _apart(context, first, second, levels):
        return True
    return _parts_apart(context, first, second, levels) or _parts_apart(
        context, second, first, levels
    )


def _parts_apart(
    context: Context, first: dict[str, object], second: EngineSchema, levels: int
) -> bool:
    for keyword in ("anyOf", "oneOf"):
        options = first.get(keyword)
        if (
            isinstance(options, list)
            and 0 < len(options) <= _MAX_OPTIONS
            and all(disjoint(context, option, second, levels - 1) for option in options)
        ):
            return True
    parts = first.get("allOf")
    if (
        isinstance(parts, list)
        and len(parts) <= _MAX_OPTIONS
        and any(disjoint(context, part, second, levels - 1) for part in parts)
    ):
        return True
    if "$ref" in first and len(first) > 1:
        return disjoint(context, {"$ref": first["$ref"]}, second, levels - 1)
    return False


def _apart(
    context: Context, first: dict[str, object], second: dict[str, object], levels: int
) -> bool:
    common = possible_types(first) & possible_types(second)
    if not common:
        return True
    values, others = _values(first), _values(second)
    if values is not None and others is not None:
        return not (values & others)
    checks = {
        frozenset({"string"}): ("minLength", "maxLength"),
        frozenset({"array"}): ("minItems", "maxItems"),
        frozenset({"object"}): ("minProperties", "maxProperties"),
    }
    bounds = checks.get(frozenset(common))
    if bounds is not None and (_beyond(first, second, *bounds) or _beyond(second, first, *bounds)):
        return True
    if common <= {"integer", "fraction"}:
        return _numbers_apart(first, second) or _numbers_apart(second, first)
    if common == {"object"}:
        return _objects_apart(context, first, second, levels)
    return False


def possible_types(schema: dict[str, object]) -> frozenset[str]:
    """The types that a schema's own keywords allow; numbers with a fraction are `fraction`."""
    types = ALL_TYPES
    declared = schema.get("type")
    if isinstance(declared, str):
        types = TYPES.get(declared, ALL_TYPES)
    elif isinstance(declared, list):
        types = frozenset().union(*(TYPES.get(name, ALL_TYPES) for name in declared))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        types &= {type_of(value) for value in values}
    return types


def _values(schema: dict[str, object]) -> frozenset[str] | None:
    if "const" in schema:
        return frozenset({literal_key(schema["const"])})
    values = schema.get("enum")
    if isinstance(values, list):
        return frozenset(map(literal_key, values))
    if schema.get("type") == "boolean":
        return frozenset({"true", "false"})
    return None


def _beyond(
    first: dict[str, object], second: dict[str, object], minimum: str, maximum: str
) -> bool:
    low, high = first.get(minimum), second.get(maximum)
    return isinstance(low, int | float) and isinstance(high, int | float) and low > high


def _numbers_apart(first: dict[str, object], second: dict[str, object]) -> bool:
    """Whether all numbers of `first` are above all numbers of `second`."""
    low, low_open = _edge(first, "minimum", "exclusiveMinimum")
    high, high_open = _edge(second, "maximum", "exclusiveMaximum")
    if low is None or high is None:
        return False
    return low > high or (low == high and (low_open or high_open))


def _edge(schema: dict[str, object], closed: str, opened: str) -> tuple[float | None, bool]:
    inclusive, exclusive = schema.get(closed), schema.get(opened)
    values = [schema.get("const")] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and all(type(value) in (int, float) for value in values) and values:
        numbers = [value for value in values if isinstance(value, int | float)]
        return (min(numbers) if closed == "minimum" else max(numbers)), False
    low = inclusive if isinstance(inclusive, int | float) else None
    if exclusive is True:
        return low, True
    if not isinstance(exclusive, int | float) or isinstance(exclusive, bool):
        return low, False
    if low is None or (exclusive >= low if closed == "minimum" else exclusive <= low):
        return exclusive, True
    return low, False


def _objects_apart(
    context: Context, first: dict[str, object], second: dict[str, object], levels: int
) -> bool:
    required = [*_required(first), *_required(second)]
    for name in dict.fromkeys(required):
        in_first, in_second = _property(context, first, name), _property(context, second, name)
        if disjoint(context, in_first, in_second, levels - 1):
            return True
    return False


def _required(schema: dict[str, object]) -> list[str]:
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _property(context: Context, schema: dict[str, object], name: str) -> EngineSchema:
    properties = schema.get("properties")
    if isinstance(properties, dict) and name in properties:
        found: EngineSchema = properties[name]
        return found
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        for pattern, found in patterns.items():
            if context.oracle.matches(pattern, name):
                return found
    rest = schema.get("additionalProperties", True)
    return rest if isinstance(rest, dict | bool) else True
