"""Values that a schema lists, whole or by their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.closing.alternative import Alternative

if TYPE_CHECKING:
    from genir_server.schema.closing.alternative import Schema
    from genir_server.schema.closing.alternatives import EngineSchema

_MAX_CONTAINERS = 200
_PLAIN = frozenset({"const", "enum"})


def listed_values(engine: EngineSchema, alternative: Alternative) -> list[object]:
    """The listed values that satisfy an alternative.

    Args:
        engine: the schema that the alternative is of.
        alternative: one that lists values.

    """
    listed: list[object] = []
    for part in alternative.parts:
        values = [part["const"]] if "const" in part else part.get("enum")
        if isinstance(values, list):
            listed = values
            break
    if len(alternative.parts) == 1 and alternative.parts[0].keys() <= _PLAIN:
        return listed
    holds = engine.validator(alternative)
    return [value for value in listed if holds(value)]


def opened(engine: EngineSchema, alternative: Alternative) -> list[Alternative]:
    """The listed arrays and objects, each as an alternative for its members or items."""
    found: list[Alternative] = []
    for value in listed_values(engine, alternative):
        if isinstance(value, dict):
            part: Schema = {
                "type": "object",
                "properties": {name: {"const": member} for name, member in value.items()},
                "required": list(value),
                "additionalProperties": False,
            }
            found.append(Alternative((part,), frozenset({"object"})))
        elif isinstance(value, list):
            part = {
                "type": "array",
                "prefixItems": [{"const": item} for item in value],
                "minItems": len(value),
                "maxItems": len(value),
            }
            found.append(Alternative((part,), frozenset({"array"})))
    return found[:_MAX_CONTAINERS]
