"""Bounds on numbers and on their decimal places."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from genir_server.domain.numbers import MAX_INTEGER
from genir_server.schema.interval import Interval, exact, interval_of
from genir_server.schema.read.pointer import child
from genir_server.schema.relax.number_bounds import FEW, writes_exactly
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from genir_server.schema.narrow.context import Narrowing, Schema

_LOW = ("exclusiveMinimum", "minimum")
_HIGH = ("exclusiveMaximum", "maximum")
# Fewer numbers than this with the usual decimal places: the interval gets a list of numbers.
_MIN_STEPS = 100
_PARTS = 10


def bound_number(narrowing: Narrowing, schema: Schema, pointer: str, *, standalone: bool) -> None:
    """Sets bounds on a number, and on its decimal places if no other part has any."""
    own = schema.interval if isinstance(schema, Part) else None
    interval = own or interval_of(schema)
    with_fractions = standalone and "number" in _types(schema)
    if with_fractions and _list_numbers(narrowing, schema, pointer, interval):
        return
    divisor = schema.divisor if isinstance(schema, Part) else None
    reaches_zero = interval.high is None or interval.high > 0 or interval.contains(0)
    if divisor is not None and reaches_zero:
        schema["multipleOf"] = divisor
        where = schema.divisor_at if isinstance(schema, Part) else None
        _note(narrowing, schema, child(pointer, "multipleOf"), where, "only numbers from 0 up")
        if not _has(schema, _LOW):
            schema["minimum"] = 0
    _bound_missing_sides(narrowing, schema, pointer, interval)
    if with_fractions:
        _exclude_bounds(narrowing, schema, pointer, interval)
        if "multipleOf" not in schema:
            _bound_decimal_places(narrowing, schema, pointer)


def _bound_missing_sides(
    narrowing: Narrowing, schema: Schema, pointer: str, interval: Interval
) -> None:
    usual = 10**narrowing.bounds.integer_digits - 1
    # Digits without end are no numbers of an answer: it has none beyond ±(2^53-1).
    if not _has(schema, _LOW):
        reachable = interval.high is None or interval.high > -usual
        low = -usual if reachable else -MAX_INTEGER
        schema["minimum"] = low
        _note(narrowing, schema, child(pointer, "minimum"), interval.low_at, f"at least {low}")
    if not _has(schema, _HIGH):
        reachable = interval.low is None or interval.low < usual
        high = usual if reachable else MAX_INTEGER
        schema["maximum"] = high
        _note(narrowing, schema, child(pointer, "maximum"), interval.high_at, f"at most {high}")


def _list_numbers(narrowing: Narrowing, schema: Schema, pointer: str, interval: Interval) -> bool:
    """Replaces a narrow interval by a few numbers in it, which the engine writes without error.

    The usual decimal places would leave no number in it, and without them the engine allows a
    bound that is excluded, or digits without end.
    """
    low, high = interval.low, interval.high
    if low is None or high is None or schema.get("type") != "number" or "multipleOf" in schema:
        return False
    width = exact(high) - exact(low)
    if not 0 <= width < Fraction(_MIN_STEPS, 10**narrowing.bounds.fraction_digits):
        return False

    def is_possible(number: float) -> bool:
        divisor = schema.divisor if isinstance(schema, Part) else None
        is_multiple = divisor is None or (exact(number) / exact(divisor)).denominator == 1
        return is_multiple and writes_exactly(narrowing.oracle, number)

    numbers = list(filter(is_possible, _spread(interval, width)))
    if not numbers:
        numbers = list(filter(is_possible, interval.few_doubles(FEW) or ()))
    if not numbers:
        return False
    for name in (*_LOW, *_HIGH):
        schema.pop(name, None)
    schema["enum"] = numbers
    detail = f"one of {len(numbers)} numbers within the bounds"
    if isinstance(schema, Part):
        bounds = {interval.low_at, interval.high_at} - {None}
        narrowing.enforced.update(where for where in bounds if where is not None)
        schema.left_out -= bounds
    _note(narrowing, schema, child(pointer, "minimum"), interval.low_at, detail)
    return True


def _spread(interval: Interval, width: Fraction) -> list[float]:
    """Up to eleven numbers that are evenly spread over a bounded interval."""
    assert interval.low is not None  # noqa: S101 - it is bounded
    digits = math.ceil(-math.log10(width)) + 2 if width else 0
    low = exact(interval.low)
    numbers = {interval.low} if interval.contains(interval.low) else set()
    if interval.high is not None and interval.contains(interval.high):
        numbers.add(interval.high)
    for part in range(1, _PARTS):
        number = float(round(low + width * part / _PARTS, digits))
        if interval.contains(number):
            numbers.add(number)
    return sorted(numbers)


def _exclude_bounds(narrowing: Narrowing, schema: Schema, pointer: str, own: Interval) -> None:
    """Moves a bound beyond which the engine would allow numbers to the next number.

    Args:
        narrowing: the narrowing.
        schema: the part with the bounds as the engine has them.
        pointer: where the part is.
        own: the caller's bounds.

    """
    interval = interval_of(schema)
    step = schema.get("multipleOf", float(f"1e-{narrowing.bounds.fraction_digits}"))
    if not isinstance(step, int | float):
        return
    low, high = interval.low, interval.high
    if low is not None and (interval.allows_low_in_engine or (own.low or low) > low):
        above = float((exact(own.low or low) // exact(step) + 1) * exact(step))
        if above > low:
            schema.pop("exclusiveMinimum", None)
            schema["minimum"] = above
            _note(narrowing, schema, child(pointer, "minimum"), own.low_at, f"at least {above!r}")
    elif high is not None and (interval.allows_high_in_engine or (own.high or high) < high):
        below = -float((exact(-(own.high or high)) // exact(step) + 1) * exact(step))
        if below < high:
            schema.pop("exclusiveMaximum", None)
            schema["maximum"] = below
            _note(narrowing, schema, child(pointer, "maximum"), own.high_at, f"at most {below!r}")


def _bound_decimal_places(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    digits = narrowing.bounds.fraction_digits
    step = float(f"1e-{digits}")
    interval = interval_of(schema)
    if interval.low is not None and interval.low >= 0:
        # The engine enforces multipleOf only for numbers from 0 up.
        schema["multipleOf"] = step
        narrowing.note(pointer, "multipleOf", f"at most {digits} decimal places")
    elif narrowing.bounds.over_own_bounds and (interval.high is None or interval.high > 0):
        for keyword in _LOW:
            schema.pop(keyword, None)
        schema["minimum"] = 0
        schema["multipleOf"] = step
        narrowing.note(
            pointer, "multipleOf", f"at most {digits} decimal places, only numbers from 0 up"
        )


def _note(narrowing: Narrowing, schema: Schema, place: str, where: str | None, detail: str) -> None:
    """Reports a bound at the caller's keyword that it stands for; at `place` if there is none."""
    if where is None:
        pointer, _, keyword = place.rpartition("/")
        narrowing.note(pointer, keyword, detail)
    else:
        narrowing.note_enforced(where, detail)
        if isinstance(schema, Part):
            schema.left_out -= {where}


def _has(schema: Schema, keywords: tuple[str, ...]) -> bool:
    return any(keyword in schema for keyword in keywords)


def _types(schema: Schema) -> list[object]:
    declared = schema.get("type")
    return declared if isinstance(declared, list) else [declared]
