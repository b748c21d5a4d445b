"""JSON Schemas of the numbers that are no doubles: Decimal and Fraction. Pure."""

from __future__ import annotations

from decimal import Decimal
from math import lcm
from typing import TYPE_CHECKING, Any

from genir import _patterns

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXACT_DIGITS = 15
"""A double keeps every decimal number of so many digits."""
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def decimal(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a Decimal: a number, or a string where only a string can say its digits.

    Args:
        schema: pydantic's core schema, with bounds, max_digits, decimal_places and multiple_of.

    """
    most, places = schema.get("max_digits"), schema.get("decimal_places")
    step = schema.get("multiple_of")
    made = bounded({"type": "number"}, schema)
    if places is None:
        if most is None:
            return made if step is None else made | {"multipleOf": float(step)}
        places = most // 2
    if most is not None:
        places = min(places, most)
    if step is None and len(made) == 1:
        whole = _EXACT_DIGITS if most is None else most - places
        return {"type": "string", "pattern": _patterns.digits(whole, places)}
    if most is None or most > _EXACT_DIGITS:
        most, places = _EXACT_DIGITS, min(places, _EXACT_DIGITS // 2)
    limit = 10 ** (most - places)
    highest = min(made.get("maximum", limit), made.get("exclusiveMaximum", limit))
    if highest < 0 and step is None:
        # Engines enforce the decimal places of numbers from 0 up only.
        return made | {"type": "integer"}
    if limit == 1:  # pydantic counts the digit of 0 itself as one before the point.
        made["exclusiveMinimum"] = max(made.get("exclusiveMinimum", 0), 0)
        if made.get("minimum", 0) <= 0:
            made.pop("minimum", None)
    # Bounds of the type's own that are tighter stay.
    if made.get("maximum", limit) >= limit:
        made.pop("maximum", None)
        made["exclusiveMaximum"] = min(made.get("exclusiveMaximum", limit), limit)
    if made.get("minimum", -limit) <= -limit:
        made.pop("minimum", None)
        made["exclusiveMinimum"] = max(made.get("exclusiveMinimum", -limit), -limit)
    return made | {"multipleOf": _step(step, places)}


def bounded(made: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of numbers with the bounds of a core schema."""
    for key, keyword in _BOUNDS.items():
        if schema.get(key) is not None:
            made[keyword] = _number(schema[key])
    return made


def _step(step: Decimal | None, places: int) -> float:
    """The smallest multiple of `step` that has so many decimal places."""
    if step is None:
        return float(Decimal(1).scaleb(-places))
    exponent = step.normalize().as_tuple().exponent
    scale = Decimal(10) ** max(places, -int(exponent), 0)
    multiple = lcm(int(step * scale), int(scale.scaleb(-places)))
    return float(Decimal(multiple) / scale)


def _number(value: float | Decimal) -> float:
    number = float(value)
    return int(number) if number.is_integer() else number
