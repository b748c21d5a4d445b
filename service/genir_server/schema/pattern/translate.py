"""Writes a regular expression so that Rust's engines match as ECMA-262 says.

Only what they read otherwise is replaced; the rest of the text stays. The result has no syntax
that ECMA-262 lacks, so it passes the meta-schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from genir_server.schema.pattern import sets
from genir_server.schema.pattern.parse import parse
from genir_server.schema.pattern.references import Use, uses
from genir_server.schema.pattern.syntax import (
    FIRST_SURROGATE,
    LAST_SURROGATE,
    Alternatives,
    Assertion,
    BackReference,
    CharacterClass,
    Dot,
    Group,
    LookAround,
    PatternUnsupportedError,
    Repetition,
    Sequence,
    Text,
)

if TYPE_CHECKING:
    from genir_server.schema.pattern.syntax import Node, Pattern

_SYNTAX_CHARACTERS = frozenset("\\^$.*+?()[]{}|")
_KEPT_ESCAPES = frozenset({f"\\{character}" for character in "\\^$.*+?()[]{}|/"})
# Matches the empty string in every engine.
_NOTHING = "a{0}"
_AFTER_WORD, _BEFORE_WORD = f"(?<={sets.WORD})", f"(?={sets.WORD})"
_NOT_AFTER_WORD, _NOT_BEFORE_WORD = f"(?<!{sets.WORD})", f"(?!{sets.WORD})"
_BOUNDARIES = {
    "b": f"(?:{_AFTER_WORD}{_NOT_BEFORE_WORD}|{_NOT_AFTER_WORD}{_BEFORE_WORD})",
    "B": f"(?:{_AFTER_WORD}{_BEFORE_WORD}|{_NOT_AFTER_WORD}{_NOT_BEFORE_WORD})",
}
_LINE_EDGES = {
    "^": f"(?:^|(?<={sets.LINE_END}))",
    "$": f"(?:$|(?={sets.LINE_END}))",
}


@dataclass(frozen=True, slots=True)
class Translation:
    """A regular expression for Rust's engines.

    Attributes:
        text: the expression, which has only syntax of ECMA-262.
        is_regular: whether it has neither look-around nor back-references, which the grammar
            engine and the engine that runs in linear time do not have.

    """

    text: str
    is_regular: bool


@lru_cache(maxsize=4_096)
def translate(source: str) -> Translation:
    """Translates a regular expression of ECMA-262.

    Raises:
        PatternSyntaxError: it is not ECMA-262.
        PatternUnsupportedError: Rust's engines cannot match it as ECMA-262 says.

    """
    return _Translator(parse(source)).translate()


class _Translator:
    def __init__(self, pattern: Pattern) -> None:
        self._root = pattern.root
        self._source = pattern.source
        self._has_references = pattern.has_references
        self._uses = uses(pattern) if pattern.has_references else {}
        # New numbers of the groups that are referred to. Where it is unknown whether the group
        # takes part, an empty group before it tells: its number is one less.
        self._numbers: dict[int, int] = {}
        self._uncertain = {group for use, group in self._uses.values() if use is Use.UNKNOWN}
        last = 0
        for group in sorted({group for use, group in self._uses.values() if use is not Use.ABSENT}):
            last += 1 + (group in self._uncertain)
            self._numbers[group] = last
        self._written: list[str] = []
        self._position = 0
        self._is_regular = True

    def translate(self) -> Translation:
        self._write(self._root, frozenset())
        self._written.append(self._source[self._position :])
        return Translation("".join(self._written), self._is_regular)

    def _write(self, node: Node, flags: frozenset[str]) -> None:
        if isinstance(node, Sequence | Alternatives):
            for part in node.parts if isinstance(node, Sequence) else node.options:
                self._write(part, flags)
        elif isinstance(node, Repetition):
            self._write_repetition(node, flags)
        elif isinstance(node, Group):
            self._write_group(node, flags)
        elif isinstance(node, LookAround):
            self._is_regular = False
            self._write(node.body, flags)
        else:
            self._write_leaf(node, flags)

    def _write_leaf(
        self,
        node: Text | Dot | CharacterClass | Assertion | BackReference,
        flags: frozenset[str],
    ) -> None:
        if isinstance(node, Text):
            self._write_text(node)
        elif isinstance(node, Dot):
            self._replace(node.start, node.end, sets.ANY if "s" in flags else sets.NOT_LINE_END)
        elif isinstance(node, CharacterClass):
            text = sets.written_set(node, self._source, ignore_case="i" in flags)
            self._replace(node.start, node.end, text)
        elif isinstance(node, BackReference):
            self._write_reference(node, flags)
        elif node.kind in _BOUNDARIES:
            self._is_regular = False
            self._replace(node.start, node.end, _BOUNDARIES[node.kind])
        elif "m" in flags:
            self._is_regular = False
            self._replace(node.start, node.end, _LINE_EDGES[node.kind])

    def _write_text(self, node: Text) -> None:
        own = self._source[node.start : node.end]
        if own in _KEPT_ESCAPES or (own == node.characters and own not in "}]"):
            return
        if FIRST_SURROGATE <= ord(node.characters) <= LAST_SURROGATE:
            text = sets.NONE
        else:
            text = sets.written_character(node.characters, _SYNTAX_CHARACTERS)
        self._replace(node.start, node.end, text)

    def _write_repetition(self, node: Repetition, flags: frozenset[str]) -> None:
        if not _is_condition(node.body):
            self._write(node.body, flags)
        elif node.low:
            # Once is enough, and fancy-regex refuses to repeat a condition.
            self._write(node.body, flags)
            self._replace(node.body.end, node.end, "")
        else:
            self._replace(node.start, node.end, f"(?:{_NOTHING})")

    def _write_group(self, node: Group, flags: frozenset[str]) -> None:
        body_end = node.end - 1
        opening, closing = self._opening(node)
        self._replace(node.start, node.body.start, opening)
        self._write(node.body, (flags | frozenset(node.on)) - frozenset(node.off))
        self._replace(body_end, node.end, closing)

    def _opening(self, node: Group) -> tuple[str, str]:
        """How a group begins and ends: only those that are referred to have a number."""
        if node.number in self._uncertain:
            return "(?:()(", "))"
        if node.number in self._numbers or (
            node.number and not node.name and not self._has_references
        ):
            return "(", ")"
        if "i" in node.on:
            return "(?i:", ")"
        return ("(?-i:" if "i" in node.off else "(?:"), ")"

    def _write_reference(self, node: BackReference, flags: frozenset[str]) -> None:
        use, group = self._uses[node.start]
        if use is Use.ABSENT:
            self._replace(node.start, node.end, f"(?:{_NOTHING})")
            return
        if "i" in flags:
            raise PatternUnsupportedError(
                "a back-reference where case is ignored is not supported", node.start
            )
        self._is_regular = False
        number = self._numbers[group]
        otherwise = rf"|(?!\{number - 1})" if use is Use.UNKNOWN else ""
        self._replace(node.start, node.end, rf"(?:\{number}{otherwise})")

    def _replace(self, start: int, end: int, text: str) -> None:
        self._written += (self._source[self._position : start], text)
        self._position = end


def _is_condition(node: Node) -> bool:
    """Whether a part never takes up a character, whatever it is applied to."""
    if isinstance(node, Sequence):
        return all(map(_is_condition, node.parts))
    if isinstance(node, Alternatives):
        return all(map(_is_condition, node.options))
    if isinstance(node, Group | Repetition):
        return _is_condition(node.body)
    return isinstance(node, Assertion | LookAround)
