"""How many characters the texts have that a regular expression matches."""

from __future__ import annotations

from typing import NamedTuple

from genir_server.schema.pattern.parse import parse
from genir_server.schema.pattern.syntax import (
    Alternatives,
    Assertion,
    CharacterClass,
    Dot,
    Group,
    LookAround,
    Node,
    Repetition,
    Sequence,
    Text,
)


class _Extent(NamedTuple):
    """What a part takes up.

    Attributes:
        low: the fewest characters.
        high: the most characters; None for no bound.
        at_start: whether it matches only at the start of the text.
        at_end: whether it matches only at the end of the text.

    """

    low: int
    high: int | None
    at_start: bool = False
    at_end: bool = False


def text_lengths(source: str) -> tuple[int, int | None]:
    """The fewest and the most characters of a text in which an expression of ECMA-262 matches.

    The true bounds may be tighter. None stands for no bound.
    """
    extent = _extent(parse(source).root)
    return extent.low, extent.high if extent.at_start and extent.at_end else None


def _extent(node: Node) -> _Extent:
    if isinstance(node, Alternatives):
        options = [_extent(option) for option in node.options]
        return _Extent(
            min(option.low for option in options),
            _largest([option.high for option in options]),
            all(option.at_start for option in options),
            all(option.at_end for option in options),
        )
    if isinstance(node, Sequence):
        parts = [_extent(part) for part in node.parts]
        highs = [part.high for part in parts]
        return _Extent(
            sum(part.low for part in parts),
            None if None in highs else sum(high or 0 for high in highs),
            bool(parts) and parts[0].at_start,
            bool(parts) and parts[-1].at_end,
        )
    if isinstance(node, Group):
        inner = _extent(node.body)
        # With the flag `m` the edges of lines match as well.
        return inner._replace(at_start=False, at_end=False) if "m" in node.on else inner
    if isinstance(node, Repetition):
        inner = _extent(node.body)
        endless = inner.high is None or (node.high is None and inner.high > 0)
        high = None if endless else (inner.high or 0) * (node.high or 0)
        return _Extent(inner.low * node.low, high)
    return _extent_of_leaf(node)


def _extent_of_leaf(node: Node) -> _Extent:
    if isinstance(node, Text):
        return _Extent(len(node.characters), len(node.characters))
    if isinstance(node, Dot | CharacterClass):
        return _Extent(1, 1)
    if isinstance(node, Assertion):
        return _Extent(0, 0, at_start=node.kind == "^", at_end=node.kind == "$")
    return _Extent(0, 0) if isinstance(node, LookAround) else _Extent(0, None)


def _largest(highs: list[int | None]) -> int | None:
    return None if None in highs else max(high or 0 for high in highs)
