"""The numbers between two bounds, computed exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from genir_server.domain.numbers import MAX_INTEGER

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

    """

    low: float | None = None
    low_open: bool = False
    high: float | None = None
    high_open: bool = False

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
        return Interval(low, low_open=False, high=high, high_open=False)

    def contains(self, number: float) -> bool:
        """Whether a number is in it."""
        value = exact(number)
        low, high = self.low, self.high
        is_above = low is None or value > exact(low) or (value == exact(low) and not self.low_open)
        is_below = (
            high is None or value < exact(high) or (value == exact(high) and not self.high_open)
        )
        return is_above and is_below

    def has_multiple(self, divisor: float) -> bool:
        """Whether it contains a multiple of a number above 0."""
        if self.low is None or self.high is None:
            return True
        step = exact(divisor)
        first = math.ceil(exact(self.low) / step) * step
        if self.low_open and first == exact(self.low):
            first += step
        return first < exact(self.high) or (first == exact(self.high) and not self.high_open)


def interval_of(keywords: Mapping[str, object]) -> Interval:
    """The interval that `minimum`, `maximum` and their exclusive forms give, in any draft."""
    low, low_open = _stronger(keywords, "minimum", "exclusiveMinimum", 1)
    high, high_open = _stronger(keywords, "maximum", "exclusiveMaximum", -1)
    return Interval(low, low_open, high, high_open)


def exact(number: float) -> Fraction:
    """The value of a number as it is written, in decimal."""
    return Fraction(repr(number))


def _stronger(
    keywords: Mapping[str, object], closed: str, opened: str, sign: int
) -> tuple[float | None, bool]:
    inclusive, exclusive = _number(keywords.get(closed)), keywords.get(opened)
    # In draft 4, "exclusive" is a flag of the other keyword.
    if isinstance(exclusive, bool):
        return inclusive, exclusive and inclusive is not None
    bound = _number(exclusive)
    if bound is None or inclusive is None:
        return (inclusive, False) if bound is None else (bound, True)
    return (bound, True) if sign * bound >= sign * inclusive else (inclusive, False)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
