"""Writes texts that a regular expression probably matches."""

from __future__ import annotations

import random
import re

from genir_server.schema.pattern.parse import parse
from genir_server.schema.pattern.syntax import (
    Alternatives,
    CharacterClass,
    Dot,
    Group,
    Node,
    Range,
    Repetition,
    Sequence,
    Shorthand,
    Text,
)

_CHARACTERS = 'aZ0 -_.é"\\/😀'
_SHORTHANDS = {"d": "07", "D": 'a -"é', "w": "aZ0_", "W": ' -"é', "s": " \t\u00a0", "S": 'a0-"é'}
_SURROGATE = re.compile("[\ud800-\udfff]")
# Parts that may be empty could be repeated without end.
_MAX_STEPS = 20_000
_MANY = 10_000
# How often the outermost part that may be repeated is, beyond the least, and how often the parts
# inside it are: an engine may fail for many short parts and not for a few long ones.
_TIMES = (
    ((0,), (0,)),
    ((_MANY,), (0,)),
    ((_MANY,), (0, 1, 2)),
    ((_MANY,), (2, 10)),
    ((0, 1, 2), (_MANY,)),
    ((1, 10), (10,)),
    ((0, 1, 2, 10, _MANY), (0, 1, 2, 10, _MANY)),
)


def samples(source: str, low: int, high: int, count: int) -> list[str]:
    """Texts of about `low` to `high` characters, the same ones for the same arguments.

    They are made to match, but what look-around and edges inside the expression say is not read.

    Args:
        source: the regular expression.
        low: the fewest characters.
        high: the most characters.
        count: how many are made; equal ones are returned once.

    """
    root = parse(source).root
    shortest: dict[int, int] = {}
    _measure(root, shortest)
    found: dict[str, None] = {}
    for seed in range(count):
        times = _TIMES[seed % len(_TIMES)]
        writer = _Writer(random.Random(seed), shortest, times)  # noqa: S311 - nothing secret
        room = high if seed % 2 else random.Random(-seed).randint(low, high)  # noqa: S311
        text = writer.write(root, room)
        # More characters may come around it, unless the expression says otherwise.
        more = "a" * (low - len(text))
        found |= dict.fromkeys((text, more + text, text + more))
    return [text for text in found if low <= len(text) <= high and not _SURROGATE.search(text)]


class _Writer:
    def __init__(
        self,
        choice: random.Random,
        shortest: dict[int, int],
        times: tuple[tuple[int, ...], tuple[int, ...]],
    ) -> None:
        self._choice = choice
        # The fewest characters of each part, by its id.
        self._shortest = shortest
        self._times = times
        self._depth = 0
        self._steps = 0

    def write(self, node: Node, room: int) -> str:
        """A text for one part, of at most `room` characters if that is possible."""
        self._steps += 1
        if isinstance(node, Text | Dot | CharacterClass):
            return self._leaf(node)
        if isinstance(node, Group):
            return self.write(node.body, room)
        if isinstance(node, Alternatives):
            fitting = [option for option in node.options if self._shortest[id(option)] <= room]
            return self.write(self._choice.choice(fitting or node.options), room)
        if isinstance(node, Sequence):
            return self._sequence(list(node.parts), room)
        return self._repetition(node, room) if isinstance(node, Repetition) else ""

    def _sequence(self, parts: list[Node], room: int) -> str:
        needed = sum(self._shortest[id(part)] for part in parts)
        written = ""
        for part in parts:
            needed -= self._shortest[id(part)]
            written += self.write(part, room - len(written) - needed)
        return written

    def _repetition(self, node: Repetition, room: int) -> str:
        shortest = self._shortest[id(node.body)]
        more = self._choice.choice(self._times[self._depth > 0])
        times = node.low + more if node.high is None else min(node.low + more, node.high)
        written = ""
        self._depth += 1
        for index in range(times):
            left = room - len(written) - shortest * max(0, node.low - index - 1)
            if index >= node.low and left < max(1, shortest):
                break
            part = self.write(node.body, left)
            if (not part and index >= node.low) or self._steps > _MAX_STEPS:
                break
            written += part
        self._depth -= 1
        return written

    def _leaf(self, node: Text | Dot | CharacterClass) -> str:
        if isinstance(node, Text):
            return node.characters
        if isinstance(node, Dot):
            return self._choice.choice(_CHARACTERS)
        return self._character(node)

    def _character(self, node: CharacterClass) -> str:
        if node.negated:
            fitting = [one for one in _CHARACTERS if not _has(node, one)]
            return self._choice.choice(fitting or _CHARACTERS)
        if not node.items:
            return ""
        item = self._choice.choice(node.items)
        if isinstance(item, Range):
            return chr(self._choice.choice((item.low, item.high)))
        letters = _SHORTHANDS[item.letter] if isinstance(item, Shorthand) else "aÉ"
        return self._choice.choice(letters)


def _has(node: CharacterClass, character: str) -> bool:
    return any(
        item.low <= ord(character) <= item.high
        if isinstance(item, Range)
        else isinstance(item, Shorthand) and character in _SHORTHANDS[item.letter]
        for item in node.items
    )


def _measure(node: Node, shortest: dict[int, int]) -> int:
    """The fewest characters of a part; kept for it and all parts inside, by their ids."""
    low = 0
    if isinstance(node, Text):
        low = len(node.characters)
    elif isinstance(node, Dot | CharacterClass):
        low = 1
    elif isinstance(node, Group):
        low = _measure(node.body, shortest)
    elif isinstance(node, Alternatives):
        low = min(_measure(option, shortest) for option in node.options)
    elif isinstance(node, Sequence):
        low = sum(_measure(part, shortest) for part in node.parts)
    elif isinstance(node, Repetition):
        low = node.low * _measure(node.body, shortest)
    shortest[id(node)] = low
    return low
