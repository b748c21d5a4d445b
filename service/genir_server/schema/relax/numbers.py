"""Converts keywords about numbers, and leaves out the numbers that no answer can hold."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.domain.numbers import FIRST_WITH_EXPONENT, MAX_INTEGER, can_be_answered
from genir_server.domain.types import Enforcement
from genir_server.schema.errors import SchemaRefusedError, invalid, unsupported
from genir_server.schema.interval import Interval, exact, interval_of
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import Draft, known

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema
    from genir_server.schema.relax.part import Part

_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_OTHERS = ["null", "boolean", "string", "array", "object"]
_NUMBER_TYPES = {"number", "integer"}
# With more, its regular expression for the numbers is nested too deeply.
_MAX_DECIMAL_PLACES = 60
_INEXACT = "the engine does not support this bound exactly"
_ADVICE = "JSON readers round whole numbers from 2^53 on, so use a string"
_LITERAL_ADVICE = (
    "JSON readers round whole numbers from 2^53 on, and the engine changes some numbers of more"
    " than 15 digits, so use a string"
)


def whole(value: object) -> object:
    """A float without a fraction as an integer, as normal form writes it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < FIRST_WITH_EXPONENT:
        return int(value)
    return value


def _bound(keyword: str) -> Callable[..., None]:
    def convert(context: Context, node: Node, schema: Part, extra: list[EngineSchema]) -> None:
        # All four together, for the first of them.
        is_first = keyword == next(name for name in node.keywords if name in _BOUNDS)
        if is_first and not _lists_values(context, node):
            _bounds(context, node, schema, extra)

    return convert


def _bounds(context: Context, node: Node, schema: Part, extra: list[EngineSchema]) -> None:
    interval = interval_of(node.keywords)
    refusal = _emptiness(node, interval)
    if interval.is_too_large and not interval.is_empty:
        refusal = unsupported(
            f"No number within the bounds can be answered: {_ADVICE}",
            child(node.pointer, _strongest(node, interval)),
        )
    if refusal is not None:
        context.refusals.append(refusal)
        if refusal.reason is Reason.SCHEMA_UNSUPPORTED:
            context.note(
                node, _strongest(node, interval), Enforcement.NARROWED, f"no number: {_ADVICE}"
            )
        types = _types(node)
        extra.append(False if types and types <= _NUMBER_TYPES else {"type": _OTHERS})
        return
    if _only_integers(node):
        interval = interval.of_integers()
    schema.interval = interval
    if interval.low is not None:
        low = _supported(interval.low, math.floor)
        keyword = "exclusiveMinimum" if interval.low_open else "minimum"
        if low is not None:
            schema[keyword if low == interval.low else "minimum"] = whole(low)
        if low != interval.low or interval.allows_low_in_engine:
            own = _own(node, "exclusiveMinimum", "minimum")
            context.unchecked(node, own, _INEXACT)
    if interval.high is not None:
        high = _supported(interval.high, math.ceil)
        keyword = "exclusiveMaximum" if interval.high_open else "maximum"
        if high is not None:
            schema[keyword if high == interval.high else "maximum"] = whole(high)
        if high != interval.high or interval.allows_high_in_engine:
            own = _own(node, "exclusiveMaximum", "maximum")
            context.unchecked(node, own, _INEXACT)


def _supported(bound: float, round_outwards: Callable[[Fraction], int]) -> float | None:
    """The next bound that the engine supports; None if there is none."""
    if abs(bound) > MAX_INTEGER:
        return None
    scaled = exact(bound) * 10**_MAX_DECIMAL_PLACES
    if scaled.denominator == 1:
        return bound
    return float(Fraction(round_outwards(scaled), 10**_MAX_DECIMAL_PLACES))


def _own(node: Node, *keywords: str) -> str:
    """The caller's keyword for a bound. In draft 4 an exclusive one is a flag of the other."""
    return next(
        keyword
        for keyword in keywords
        if keyword in node.keywords and not isinstance(node.keywords[keyword], bool)
    )


def _emptiness(node: Node, interval: Interval) -> SchemaRefusedError | None:
    """The refusal for bounds between which no number is; None if there may be one."""
    where = child(node.pointer, _strongest(node, interval))
    if interval.is_empty:
        return invalid("No value can satisfy the schema: no number is between the bounds", where)
    within = _clamped(interval)
    if _only_integers(node) and not within.has_multiple(1):
        return invalid("No value can satisfy the schema: no integer is between the bounds", where)
    divisor = node.keywords.get("multipleOf")
    if isinstance(divisor, int | float) and divisor > 0 and not within.has_multiple(divisor):
        if interval.has_multiple(divisor):
            return unsupported(f"No multiple within the bounds can be answered: {_ADVICE}", where)
        return invalid("No value can satisfy the schema: no multiple is between the bounds", where)
    return None


def _clamped(interval: Interval) -> Interval:
    if interval.low is None or interval.low < -MAX_INTEGER:
        interval = replace(interval, low=-MAX_INTEGER, low_open=False)
    if interval.high is None or interval.high > MAX_INTEGER:
        interval = replace(interval, high=MAX_INTEGER, high_open=False)
    return interval


def _strongest(node: Node, interval: Interval) -> str:
    """The keyword of the bound that excludes the most."""
    above = interval.low is not None and interval.low > 0
    names = ("exclusiveMinimum", "minimum") if above else ("exclusiveMaximum", "maximum")
    return _own(node, *names, *_BOUNDS)


def _types(node: Node) -> set[object]:
    declared = node.keywords.get("type", [])
    return set(declared) if isinstance(declared, list) else {declared}


def _multiple_of(context: Context, node: Node, schema: Part, _: list[EngineSchema]) -> None:
    if _lists_values(context, node):
        return
    value = node.keywords["multipleOf"]
    low = interval_of(node.keywords).low
    if low is not None and low >= 0:
        schema["multipleOf"] = whole(value)
    else:
        # The engine accepts no negative number as a multiple.
        schema.divisor = value
        context.unchecked(node, "multipleOf", "the engine does not support negative multiples")


def _enum(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    values = node.keywords["enum"]
    assert isinstance(values, list)  # noqa: S101 - the meta-schema was checked
    possible = [value for value in values if _can_be_written(context, value)]
    if len(possible) < len(values):
        count = len(values) - len(possible)
        detail = f"without {count} of {len(values)} values: {_LITERAL_ADVICE}"
        context.note(node, "enum", Enforcement.NARROWED, detail)
    if values and not possible:
        context.refusals.append(
            unsupported(
                f"No value of enum can be answered: {_LITERAL_ADVICE}", child(node.pointer, "enum")
            )
        )
    fitting = [whole(value) for value in possible if _fits(context, node, value)]
    if fitting or not values:
        schema["enum"] = fitting
    else:
        extra.append(False)


def _const(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    value = node.keywords["const"]
    if not _can_be_written(context, value):
        context.note(
            node, "const", Enforcement.NARROWED, f"no answer can hold it: {_LITERAL_ADVICE}"
        )
        context.refusals.append(
            unsupported(
                f"const cannot be answered: {_LITERAL_ADVICE}", child(node.pointer, "const")
            )
        )
        extra.append(False)
    elif not _fits(context, node, value):
        extra.append(False)
    else:
        schema["const"] = whole(value)


def _can_be_written(context: Context, value: object) -> bool:
    """Whether an answer can hold a value, and the engine writes its numbers as they are."""
    if not can_be_answered(value):
        return False
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, int) and abs(item) > MAX_INTEGER:
            pending.append(float(item))
        elif isinstance(item, float) and not context.oracle.writes(item):
            return False
    return True


def _only_integers(node: Node) -> bool:
    types = _types(node)
    return "integer" in types and "number" not in types


def _lists_values(context: Context, node: Node) -> bool:
    """Whether `enum` or `const` lists the values, so that other keywords only remove some."""
    draft = context.document.draft
    return "enum" in node.keywords or ("const" in node.keywords and known("const", draft))


def lists_large_number(context: Context, node: Node) -> bool:
    """Whether `enum` or `const` has a number that is written with an exponent."""
    if not _lists_values(context, node):
        return False
    values = [node.keywords.get("const"), *_list(node.keywords.get("enum"))]
    return any(
        isinstance(value, int | float) and abs(value) >= FIRST_WITH_EXPONENT for value in values
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _fits(context: Context, node: Node, value: object) -> bool:
    """Whether a value satisfies the other keywords about numbers.

    The grammar compiler does not combine all of them with constants.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if _only_integers(node):
        # In draft 4 a number with an exponent is no integer.
        too_large = context.document.draft is Draft.DRAFT4 and abs(value) >= FIRST_WITH_EXPONENT
        if too_large or exact(value).denominator != 1:
            return False
    divisor = node.keywords.get("multipleOf")
    if isinstance(divisor, int | float) and (exact(value) / exact(divisor)).denominator != 1:
        return False
    return interval_of(node.keywords).contains(value)


CONVERTERS: dict[str, Callable[..., None]] = {
    "const": _const,
    "enum": _enum,
    **{keyword: _bound(keyword) for keyword in _BOUNDS},
    "multipleOf": _multiple_of,
}
