"""What the parts of an engine schema that apply to one value say together about a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Texts(NamedTuple):
    """What some parts say together about a text.

    Attributes:
        patterns: regular expressions that it matches.
        formats: formats that it has.
        low: the fewest characters.
        high: the most characters; None for no bound.

    """

    patterns: tuple[str, ...]
    formats: tuple[str, ...]
    low: int
    high: int | None

    @property
    def is_combined(self) -> bool:
        """Whether the engine has to intersect expressions."""
        expressions = len(self.patterns) + len(self.formats)
        return expressions > 1 or (expressions == 1 and (self.low > 0 or self.high is not None))


def facts_of(parts: Sequence[dict[str, object]]) -> Texts:
    """What parts of an engine schema say together about a text."""
    patterns, formats = dict[str, None](), dict[str, None]()
    low, high = 0, None
    for part in parts:
        pattern, name = part.get("pattern"), part.get("format")
        if isinstance(pattern, str):
            patterns[pattern] = None
        if isinstance(name, str):
            formats[name] = None
        least, most = part.get("minLength"), part.get("maxLength")
        low = max(low, least) if isinstance(least, int) else low
        if isinstance(most, int):
            high = most if high is None else min(high, most)
    return Texts(tuple(patterns), tuple(formats), low, high)


def can_be_text(parts: Sequence[dict[str, object]]) -> bool:
    """Whether the types of the parts allow a text, and none lists its values."""
    for part in parts:
        types = part.get("type", "string")
        if "const" in part or "enum" in part:
            return False
        if types != "string" and not (isinstance(types, list) and "string" in types):
            return False
    return True
