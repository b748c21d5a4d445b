"""Which numbers an answer can hold: those that RFC 8785 writes and every reader reads exactly."""

from __future__ import annotations

import math
from decimal import Decimal

MAX_INTEGER = 2**53 - 1
"""Largest absolute value of an integer that every JSON reader reads exactly (RFC 7493)."""

FIRST_WITH_EXPONENT = 1e21
"""From here on RFC 8785 writes numbers with an exponent, and below as plain digits."""

_MAX_DIGITS = 400


def read_large_integer(literal: str) -> float | None:
    """The double for an integer of many digits, if RFC 8785 writes it with an exponent.

    None where its value would change, or where its normal form would be plain digits that some
    readers round.
    """
    if len(literal) > _MAX_DIGITS:
        return None
    number = float(literal)
    if not FIRST_WITH_EXPONENT <= abs(number) < math.inf:
        return None
    return number if Decimal(repr(number)) == Decimal(literal) else None


def has_normal_form(number: float) -> bool:
    """Whether an answer can hold a number."""
    if abs(number) <= MAX_INTEGER:
        return True
    if isinstance(number, int):
        # Larger ones are longer than Python writes.
        return abs(number) < 10**_MAX_DIGITS and read_large_integer(str(number)) is not None
    return FIRST_WITH_EXPONENT <= abs(number) < math.inf


def can_be_answered(value: object) -> bool:
    """Whether an answer can hold a parsed JSON value, as far as its numbers are concerned."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, int | float) and not has_normal_form(item):
            return False
    return True
