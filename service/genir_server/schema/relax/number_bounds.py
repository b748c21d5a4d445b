"""Writes bounds on numbers as the engine can enforce them, or says why no number is left."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.domain.numbers import FIRST_WITH_EXPONENT, MAX_INTEGER
from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.errors import SchemaRefusedError, invalid, unsupported
from genir_server.schema.interval import exact
from genir_server.schema.read.pointer import child

if TYPE_CHECKING:
    from genir_server.schema.interval import Interval
    from genir_server.schema.relax.context import Context as Relaxation
    from genir_server.schema.relax.context import Oracle
    from genir_server.schema.relax.number_facts import Numbers
    from genir_server.schema.relax.part import Part

BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
ADVICE = "JSON readers round whole numbers from 2^53 on, so use a string"
LITERAL_ADVICE = (
    "JSON readers round whole numbers from 2^53 on, and the engine changes some numbers of more"
    " than 15 digits, so use a string"
)
# With more, its regular expression for the numbers is nested too deeply.
_MAX_DECIMAL_PLACES = 60
# The engine's parser reads numbers of so many digits without error.
_EXACT_DIGITS = 15
# Of more doubles between two bounds, the engine writes at least one without error.
FEW = 40
INEXACT = "the engine does not support this bound exactly"
_NO_NEGATIVE = "the engine does not support negative multiples"


def whole(value: object) -> object:
    """A float without a fraction as an integer, as normal form writes it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < FIRST_WITH_EXPONENT:
        return int(value)
    return value


def writes_exactly(oracle: Oracle, number: float) -> bool:
    """Whether the engine reads and writes a number up to ±(2^53-1) as it is."""
    return isinstance(whole(number), int) or oracle.writes(number)


def emptiness(oracle: Oracle, numbers: Numbers, pointer: str) -> SchemaRefusedError | None:
    """The refusal for bounds between which no number can be answered; None if one may be.

    Args:
        oracle: answers of the libraries.
        numbers: the bounds.
        pointer: where they are, if they have no pointers of their own.

    """
    interval = numbers.interval
    where = _strongest(interval) or pointer
    missing = _missing(numbers, interval)
    if missing:
        return invalid(
            f"No value can satisfy the schema: no {missing} is between the bounds", where
        )
    answerable = _clamped(interval)
    missing = _missing(numbers, answerable)
    if missing:
        return unsupported(f"No {missing} within the bounds can be answered: {ADVICE}", where)
    if numbers.divisor is None and not numbers.only_integers:
        few = answerable.few_doubles(FEW)
        if few is not None and not any(writes_exactly(oracle, number) for number in few):
            return unsupported(
                f"No number within the bounds can be answered: {LITERAL_ADVICE}", where
            )
    return None


def _missing(numbers: Numbers, interval: Interval) -> str:
    """What an interval has none of, in words; empty if it has all that is needed."""
    if interval.is_empty:
        return "integer" if numbers.only_integers else "number"
    if numbers.only_integers and not interval.has_multiple(exact(1)):
        return "integer"
    if numbers.divisor is not None and not interval.has_multiple(numbers.divisor):
        return "multiple"
    return ""


def note_emptiness(context: Relaxation, refusal: SchemaRefusedError) -> None:
    """Keeps the refusal as a reason, and reports numbers that exist but are no answers."""
    context.refusals.append(refusal)
    if refusal.reason is Reason.SCHEMA_UNSUPPORTED:
        report(
            context, refusal.metadata["pointer"], Enforcement.NARROWED, "no number can be answered"
        )


def report(context: Relaxation, pointer: str, enforcement: Enforcement, detail: str) -> None:
    """Reports the keyword at a pointer."""
    keyword = pointer.rpartition("/")[2]
    context.notices[pointer, keyword] = SchemaNotice(keyword, pointer, enforcement, detail)


def write_bounds(oracle: Oracle, schema: Part, interval: Interval) -> tuple[bool, bool]:
    """Gives an object the tightest bounds that the engine supports and that exclude no answer.

    Returns:
        Whether the lower and the upper bound are exact.

    """
    for keyword in BOUNDS:
        schema.pop(keyword, None)
    schema.interval = interval
    within = _clamped(interval)
    exact_low = exact_high = True
    if interval.low is not None and within.low is not None:
        low = _supported(oracle, within.low, ROUND_FLOOR)
        exact_low = low == within.low and not interval.allows_low_in_engine
        opened = within.low_open and low == within.low
        schema["exclusiveMinimum" if opened else "minimum"] = whole(low)
    if interval.high is not None and within.high is not None:
        high = _supported(oracle, within.high, ROUND_CEILING)
        exact_high = high == within.high and not interval.allows_high_in_engine
        opened = within.high_open and high == within.high
        schema["exclusiveMaximum" if opened else "maximum"] = whole(high)
    return exact_low, exact_high


def write_numbers(context: Relaxation, schema: Part, numbers: Numbers, pointer: str) -> None:
    """Gives an object everything that several parts say about numbers, and reports the rest."""
    interval = numbers.tightest
    exact_low, exact_high = write_bounds(context.oracle, schema, interval)
    checked = Enforcement.CHECKED_AFTER_DECODING
    low_at = interval.low_at or child(pointer, "minimum")
    high_at = interval.high_at or child(pointer, "maximum")
    schema.left_out = frozenset()
    if not exact_low:
        schema.left_out |= {low_at}
        report(context, low_at, checked, INEXACT)
    elif interval.low is not None and interval.low < -MAX_INTEGER:
        report(context, low_at, Enforcement.NARROWED, f"at least {-MAX_INTEGER}")
    if not exact_high:
        schema.left_out |= {high_at}
        report(context, high_at, checked, INEXACT)
    elif interval.high is not None and interval.high > MAX_INTEGER:
        report(context, high_at, Enforcement.NARROWED, f"at most {MAX_INTEGER}")
    schema.pop("multipleOf", None)
    schema.divisor = None
    schema.divisor_at = numbers.divisor_at
    if numbers.divisor is None:
        return
    divisor = numbers.divisor
    value = int(divisor) if divisor.denominator == 1 else float(divisor)
    if interval.low is not None and interval.low >= 0:
        schema["multipleOf"] = value
    else:
        # The engine accepts no negative number as a multiple.
        schema.divisor = value
        where = numbers.divisor_at or child(pointer, "multipleOf")
        schema.left_out |= {where}
        report(context, where, checked, _NO_NEGATIVE)


def _supported(oracle: Oracle, bound: float, rounding: str) -> float:
    """The next bound that the engine supports."""
    has_few_places = (exact(bound) * 10**_MAX_DECIMAL_PLACES).denominator == 1
    if has_few_places and writes_exactly(oracle, bound):
        return bound
    number = Decimal(repr(bound))
    place = max(number.adjusted() - _EXACT_DIGITS + 1, -_MAX_DECIMAL_PLACES)
    return float(number.quantize(Decimal((0, (1,), place)), rounding, Context(prec=400)))


def _clamped(interval: Interval) -> Interval:
    if interval.low is None or interval.low < -MAX_INTEGER:
        interval = replace(interval, low=-MAX_INTEGER, low_open=False)
    if interval.high is None or interval.high > MAX_INTEGER:
        interval = replace(interval, high=MAX_INTEGER, high_open=False)
    return interval


def _strongest(interval: Interval) -> str | None:
    """The caller's pointer to the bound that excludes the most."""
    if interval.low is not None and interval.low > 0:
        return interval.low_at or interval.high_at
    return interval.high_at or interval.low_at
