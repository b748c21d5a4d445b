"""Reads how often a part is repeated."""

from __future__ import annotations

import re

from genir_server.schema.pattern.syntax import PatternSyntaxError

QUANTIFIER = re.compile(r"([*+?])|\{([0-9]+)(?:(,)([0-9]*))?\}")
"""The beginning of every quantifier, and of nothing else."""

_MAX_DIGITS = 9
_MAX_COUNT = 10**_MAX_DIGITS - 1
_BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def read_quantifier(source: str, start: int) -> tuple[int, int | None, int] | None:
    """The quantifier at `start`; None if there is none.

    Returns:
        The least and the largest number of times, None for no bound, and the index after it.

    Raises:
        PatternSyntaxError: its numbers are out of order.

    """
    found = QUANTIFIER.match(source, start)
    if found is None:
        return None
    end = found.end() + source.startswith("?", found.end())
    sign, low, comma, high = found.groups()
    if sign is not None:
        return *_BOUNDS[sign], end
    if comma is None:
        return count(low), count(low), end
    if not high:
        return count(low), None, end
    first, second = low.lstrip("0"), high.lstrip("0")
    if (len(first), first) > (len(second), second):
        raise PatternSyntaxError("the numbers of the repetition are out of order", start)
    return count(low), count(high), end


def count(digits: str) -> int:
    """A number, at most 999,999,999."""
    digits = digits.lstrip("0")
    return _MAX_COUNT if len(digits) > _MAX_DIGITS else int(digits or "0")
