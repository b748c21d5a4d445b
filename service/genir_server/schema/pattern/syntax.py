"""The parts of a regular expression, and why one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_CODE_POINT = 0x10FFFF
FIRST_SURROGATE, LAST_SURROGATE = 0xD800, 0xDFFF


class PatternSyntaxError(Exception):
    """The text is not a regular expression of ECMA-262.

    Args:
        problem: what is wrong and what to write instead.
        position: index of the character where it begins, from 0.

    """

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem}, at character {position + 1}")
        self.position = position


class PatternUnsupportedError(Exception):
    """The regular expression is valid, but no library here matches it as ECMA-262 says.

    Args:
        problem: what cannot be matched and what to write instead.
        position: index of the character where it begins, from 0.

    """

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem}, at character {position + 1}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the source text.

    Attributes:
        start: index of its first character.
        end: index after its last character.

    """

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Text(Part):
    """Characters that stand for themselves.

    Attributes:
        characters: what is matched, with escapes resolved.

    """

    characters: str


@dataclass(frozen=True, slots=True)
class Dot(Part):
    """Any character except a line terminator."""


@dataclass(frozen=True, slots=True)
class Range:
    """Code points from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Shorthand:
    r"""One of ``\d \D \w \W \s \S``.

    Attributes:
        letter: the letter after the backslash.

    """

    letter: str


@dataclass(frozen=True, slots=True)
class Property:
    r"""The characters with a Unicode property, or those without it.

    Attributes:
        name: what stands between the braces.
        negated: whether it is ``\P``.
        position: index of the backslash.

    """

    name: str
    negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class CharacterClass(Part):
    """One character of a set: a class in brackets or an escape for one."""

    negated: bool
    items: tuple[Range | Shorthand | Property, ...]


@dataclass(frozen=True, slots=True)
class Assertion(Part):
    r"""``^``, ``$``, ``\b`` or ``\B``.

    Attributes:
        kind: the character, or the letter after the backslash.

    """

    kind: Literal["^", "$", "b", "B"]


@dataclass(frozen=True, slots=True)
class BackReference(Part):
    """The text that a group matched.

    Attributes:
        target: the group's number or name.

    """

    target: int | str


@dataclass(frozen=True, slots=True)
class Sequence(Part):
    """Parts that match one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives(Part):
    """Two sequences or more, of which one matches."""

    options: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Group(Part):
    """A part in parentheses.

    Attributes:
        body: what is inside.
        number: its number from 1 up if it captures, else 0.
        name: its name; empty without one.
        on: flags that are set inside.
        off: flags that are not set inside.

    """

    body: Sequence | Alternatives
    number: int
    name: str
    on: str
    off: str


@dataclass(frozen=True, slots=True)
class LookAround(Part):
    """A condition on what follows or comes before."""

    body: Sequence | Alternatives
    behind: bool
    negative: bool


@dataclass(frozen=True, slots=True)
class Repetition(Part):
    """A part that matches several times.

    Attributes:
        body: what is repeated.
        low: the least number of times.
        high: the largest number of times; None without a bound.

    """

    body: Node
    low: int
    high: int | None


Node = (
    Text
    | Dot
    | CharacterClass
    | Assertion
    | BackReference
    | Sequence
    | Alternatives
    | Group
    | LookAround
    | Repetition
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that was read.

    Attributes:
        source: its text.
        root: its parts.
        groups: number of capturing groups.
        names: numbers of the groups by name.
        has_references: whether it has back-references.

    """

    source: str
    root: Sequence | Alternatives
    groups: int
    names: dict[str, tuple[int, ...]]
    has_references: bool
