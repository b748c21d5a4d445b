"""The numbers between two bounds, computed exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from genir_server.domain.numbers import MAX_INTEGER
from genir_server.schema.read.pointer import child

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers between two bounds.

    Attributes:
        low: the lower bound; None if there is none.
        low_open: whether `low` itself is left out.
        high: the upper bound; None if there is none.
        high_open: whether `high` itself is left out.
        low_at: the caller's pointer to the keyword that sets `low`; None if there is none.
        high_at: the same for `high`.

    """

    low: float | None = None
    low_open: bool = False
    high: float | None = None
    high_open: bool = False
    low_at: str | None = None
    high_at: str | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether it has a bound on either side."""
        return self.low is not None or self.high is not None

    @property
    def is_too_large(self) -> bool:
        """Whether all of its numbers are beyond ±(2^53-1), where decoding does not go."""
        return (
            self.low is not None
            and (self.low > MAX_INTEGER or (self.low == MAX_INTEGER and self.low_open))
        ) or (
            self.high is not None
            and (self.high < -MAX_INTEGER or (self.high == -MAX_INTEGER and self.high_open))
        )

    @property
    def is_empty(self) -> bool:
        """Whether no double is in it."""
        if self.low is None or self.high is None:
            return False
        first = math.nextafter(self.low, math.inf) if self.low_open else self.low
        return math.isinf(first) or not self.contains(first)

    @property
    def allows_low_in_engine(self) -> bool:
        """Whether llguidance allows `low` though it is excluded.

        It does so for a whole number if all numbers of the interval have the same whole part.
        """
        return (
            self.low_open
            and self.low is not None
            and self.high is not None
            and self.low >= 0
            and self.low == math.floor(self.high)
        )

    @property
    def allows_high_in_engine(self) -> bool:
        """Whether llguidance allows `high` though it is excluded, among numbers below 0."""
        return (
            self.high_open
            and self.high is not None
            and self.low is not None
            and self.high <= 0
            and self.high == math.ceil(self.low)
        )

    def of_integers(self) -> Interval:
        """The interval with the same integers, whose bounds are integers in it."""
        low, high = self.low, self.high
        if low is not None:
            low = math.floor(low) + 1 if self.low_open else math.ceil(low)
        if high is not None:
            high = math.ceil(high) - 1 if self.high_open else math.floor(high)
        return replace(self, low=low, low_open=False, high=high, high_open=False)

    def intersection(self, other: Interval) -> Interval:
        """The numbers that are in both."""
        lower = _is_tighter(other.low, self.low, 1, opened=other.low_open and not self.low_open)
        upper = _is_tighter(
            other.high, self.high, -1, opened=other.high_open and not self.high_open
        )
        low, high = other if lower else self, other if upper else self
        return Interval(low.low, low.low_open, high.high, high.high_open, low.low_at, high.high_at)

    def few_doubles(self, most: int) -> list[float] | None:
        """All doubles in it, in order; None if there are more than `most`."""
        if self.low is None or self.high is None:
            return None
        number = float(self.low)
        found: list[float] = []
        while exact(number) <= exact(self.high) and len(found) <= most:
            if self.contains(number):
                found.append(number)
            number = math.nextafter(number, math.inf)
        return found if len(found) <= most else None

    def contains(self, number: float) -> bool:
        """Whether a number is in it."""
        value = exact(number)
        low, high = self.low, self.high
        is_above = low is None or value > exact(low) or (value == exact(low) and not self.low_open)
        is_below = (
            high is None or value < exact(high) or (value == exact(high) and not self.high_open)
        )
        return is_above and is_below

    def has_multiple(self, step: Fraction) -> bool:
        """Whether it contains a multiple of a number above 0."""
        if self.low is None or self.high is None:
            return True
        first = math.ceil(exact(self.low) / step) * step
        if self.low_open and first == exact(self.low):
            first += step
        return first < exact(self.high) or (first == exact(self.high) and not self.high_open)


def interval_of(keywords: Mapping[str, object], pointer: str | None = None) -> Interval:
    """The interval that `minimum`, `maximum` and their exclusive forms give, in any draft.

    Args:
        keywords: the schema.
        pointer: where it is in the caller's schema, if it is there.

    """
    low, low_open, low_name = _stronger(keywords, "minimum", "exclusiveMinimum", 1)
    high, high_open, high_name = _stronger(keywords, "maximum", "exclusiveMaximum", -1)
    return Interval(
        low,
        low_open,
        high,
        high_open,
        None if pointer is None or low is None else child(pointer, low_name),
        None if pointer is None or high is None else child(pointer, high_name),
    )


def exact(number: float) -> Fraction:
    """The value of a number as it is written, in decimal."""
    return Fraction(repr(number))


def _is_tighter(bound: float | None, than: float | None, sign: int, *, opened: bool) -> bool:
    if bound is None or than is None:
        return bound is not None
    difference = sign * (exact(bound) - exact(than))
    return difference > 0 or (difference == 0 and opened)


def _stronger(
    keywords: Mapping[str, object], closed: str, opened: str, sign: int
) -> tuple[float | None, bool, str]:
    inclusive, exclusive = _number(keywords.get(closed)), keywords.get(opened)
    # In draft 4, "exclusive" is a flag of the other keyword.
    if isinstance(exclusive, bool):
        return inclusive, exclusive and inclusive is not None, closed
    bound = _number(exclusive)
    if bound is None or inclusive is None:
        return (inclusive, False, closed) if bound is None else (bound, True, opened)
    if sign * bound >= sign * inclusive:
        return bound, True, opened
    return inclusive, False, closed


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
