"""Reads a regular expression of ECMA-262. Without recursion."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, cast

from genir_server.schema.pattern.classes import read_class
from genir_server.schema.pattern.escapes import read_escape, read_group_name
from genir_server.schema.pattern.quantifiers import QUANTIFIER, count, read_quantifier
from genir_server.schema.pattern.syntax import (
    Alternatives,
    Assertion,
    BackReference,
    CharacterClass,
    Dot,
    Group,
    LookAround,
    Node,
    Pattern,
    PatternSyntaxError,
    PatternUnsupportedError,
    Repetition,
    Sequence,
    Text,
)

_CHARACTERS = re.compile(r"[^\\^$.*+?()\[\]{}|]+")
_NUMBER = re.compile(r"[1-9][0-9]*")
_LOOK_AROUND = re.compile(r"\(\?(<?)([=!])")
_MODIFIERS = re.compile(r"\(\?([ims]*)(-[ims]*)?:")
_OTHER_HEADER = re.compile(r"\(\?(?:P[<=>]|[A-Za-z-]+[):]?|.)?", re.DOTALL)
_INLINE_FLAGS = re.compile(r"\(\?[ims-]+\)")
_MAX_DEPTH = 100
_HINTS = {
    "(?P<": "write (?<name>…)",
    "(?P=": r"write \k<name>",
    "(?#": "leave the comment out",
    "(?>": "write (?:…)",
    "(?<": "write a name such as (?<year>…)",
}


@dataclass(slots=True)
class _Open:
    """Parentheses that are not closed yet; the first is the whole expression."""

    start: int
    body: int
    number: int = 0
    name: str = ""
    on: str = ""
    off: str = ""
    look: Literal["", "=", "!"] = ""
    behind: bool = False
    options: list[Sequence] = field(default_factory=list)
    option: int = 0
    parts: list[Node] = field(default_factory=list)
    # Names of groups in the alternative that is being read, and in those before it.
    names: set[str] = field(default_factory=set)
    other_names: set[str] = field(default_factory=set)

    def end_option(self, position: int) -> None:
        self.options.append(Sequence(self.option, position, tuple(self.parts)))
        self.option = position + 1
        self.parts = []
        self.other_names |= self.names
        self.names = set()

    def content(self, position: int) -> Sequence | Alternatives:
        self.end_option(position)
        if len(self.options) == 1:
            return self.options[0]
        return Alternatives(self.body, position, tuple(self.options))


@lru_cache(maxsize=4_096)
def parse(source: str) -> Pattern:
    """Reads a regular expression.

    Raises:
        PatternSyntaxError: it is not ECMA-262.
        PatternUnsupportedError: it has more than 100 parentheses inside one another.

    """
    return _Parser(source).parse()


def is_pattern(source: str) -> bool:
    """Whether a text is a regular expression of ECMA-262, nested no deeper than `parse` reads."""
    try:
        _Parser(source).parse()
    except (PatternSyntaxError, PatternUnsupportedError):
        return False
    return True


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0
        self._stack = [_Open(0, 0)]
        self._groups = 0
        self._names: dict[str, list[int]] = {}
        self._references: list[BackReference] = []
        self._has_nested_bracket = False

    def parse(self) -> Pattern:
        source = self._source
        while self._position < len(source):
            character = source[self._position]
            if character == "(":
                self._open()
            elif character == ")":
                self._close()
            elif character == "|":
                self._stack[-1].end_option(self._position)
                self._position += 1
            else:
                self._add_atom(character)
        if len(self._stack) > 1:
            raise PatternSyntaxError("the group is not closed", self._stack[-1].start)
        root = self._stack[0].content(len(source))
        self._check_references()
        names = {name: tuple(numbers) for name, numbers in self._names.items()}
        return Pattern(source, root, self._groups, names, bool(self._references))

    def _add_atom(self, character: str) -> None:
        start = self._position
        if character in "^$":
            self._add_assertion(start + 1, cast("Literal['^', '$']", character))
        elif character == ".":
            self._add(Dot(start, start + 1))
        elif character == "[":
            found, has_bracket = read_class(self._source, start)
            self._has_nested_bracket = self._has_nested_bracket or has_bracket
            self._add(found)
        elif character == "\\":
            self._add_escape(start)
        elif character in "*+?{":
            raise self._nothing_to_repeat(start)
        elif character == "]" and self._has_nested_bracket:
            raise PatternSyntaxError(
                r"a class of ECMA-262 has no class inside: write \[ for a bracket", start
            )
        elif character in "}]":
            self._add(Text(start, start + 1, character))
        else:
            self._add_characters(start)

    def _add_characters(self, start: int) -> None:
        found = _CHARACTERS.match(self._source, start)
        assert found is not None  # noqa: S101 - the caller has seen such a character
        last = found.end() - 1
        if last > start and QUANTIFIER.match(self._source, last + 1):
            # The quantifier applies to the last character only.
            self._stack[-1].parts.append(Text(start, last, self._source[start:last]))
            start = last
        self._add(Text(start, last + 1, self._source[start : last + 1]))

    def _add_escape(self, start: int) -> None:
        letter = self._source[start + 1 : start + 2]
        if letter in ("b", "B"):
            self._add_assertion(start + 2, cast("Literal['b', 'B']", letter))
        elif letter == "k" and (named := read_group_name(self._source, start + 2)):
            self._add_reference(BackReference(start, named[1], named[0]))
        elif number := _NUMBER.match(self._source, start + 1):
            self._add_reference(BackReference(start, number.end(), count(number.group())))
        else:
            value, end = read_escape(self._source, start)
            if isinstance(value, int):
                self._add(Text(start, end, chr(value)))
            else:
                self._add(CharacterClass(start, end, negated=False, items=(value,)))

    def _add_assertion(self, end: int, kind: Literal["^", "$", "b", "B"]) -> None:
        self._stack[-1].parts.append(Assertion(self._position, end, kind))
        self._position = end

    def _add_reference(self, reference: BackReference) -> None:
        self._references.append(reference)
        self._add(reference)

    def _add(self, node: Node) -> None:
        """Adds a part that a quantifier may follow."""
        self._position = node.end
        found = read_quantifier(self._source, node.end)
        if found is not None:
            low, high, self._position = found
            node = Repetition(node.start, self._position, node, low, high)
        self._stack[-1].parts.append(node)

    def _nothing_to_repeat(self, start: int) -> PatternSyntaxError:
        parts = self._stack[-1].parts
        previous = parts[-1] if parts and parts[-1].end == start else None
        if self._source.startswith("{,", start):
            return PatternSyntaxError("a repetition needs its least number: write {0,…}", start)
        if self._source[start] == "{" and not QUANTIFIER.match(self._source, start):
            return PatternSyntaxError(r"the brace begins no repetition: write \{", start)
        if isinstance(previous, Repetition):
            return PatternSyntaxError(
                "ECMA-262 has no second quantifier after the first: leave it out, or put (?:…)"
                " around what is repeated",
                start,
            )
        if isinstance(previous, Assertion | LookAround):
            return PatternSyntaxError("a condition cannot be repeated", start)
        return PatternSyntaxError(
            rf"there is nothing to repeat: write \{self._source[start]} for the character", start
        )

    def _open(self) -> None:
        start = self._position
        if len(self._stack) > _MAX_DEPTH:
            raise PatternUnsupportedError(
                f"more than {_MAX_DEPTH} parentheses inside one another are not supported", start
            )
        if not self._source.startswith("(?", start):
            self._groups += 1
            opened = _Open(start, start + 1, number=self._groups)
        elif look := _LOOK_AROUND.match(self._source, start):
            sign = cast("Literal['=', '!']", look.group(2))
            opened = _Open(start, look.end(), look=sign, behind=bool(look.group(1)))
        elif named := self._named_group(start):
            opened = named
        else:
            opened = self._plain_group(start)
        opened.option = opened.body
        self._position = opened.body
        self._stack.append(opened)

    def _named_group(self, start: int) -> _Open | None:
        found = read_group_name(self._source, start + 2)
        if found is None:
            return None
        name, body = found
        if any(name in frame.names for frame in self._stack):
            raise PatternSyntaxError("two groups that may both match have the same name", start)
        self._groups += 1
        self._stack[-1].names.add(name)
        self._names.setdefault(name, []).append(self._groups)
        return _Open(start, body, number=self._groups, name=name)

    def _plain_group(self, start: int) -> _Open:
        found = _MODIFIERS.match(self._source, start)
        if found is not None:
            on, off = found.group(1), (found.group(2) or "")[1:]
            flags = on + off
            if (flags or found.group(2) is None) and len(set(flags)) == len(flags):
                return _Open(start, found.end(), on=on, off=off)
        other = _OTHER_HEADER.match(self._source, start)
        header = other.group() if other else "(?"
        hint = _HINTS.get(header)
        if _INLINE_FLAGS.fullmatch(header):
            hint = f"put what it applies to into {header[:-1]}:…)"
        what = f"{header[:20]} is not ECMA-262"
        raise PatternSyntaxError(f"{what}: {hint}" if hint else what, start)

    def _close(self) -> None:
        if len(self._stack) == 1:
            raise PatternSyntaxError(
                r"the parenthesis closes nothing: write \) for the character", self._position
            )
        closed = self._stack.pop()
        body = closed.content(self._position)
        self._stack[-1].names |= closed.other_names
        end = self._position + 1
        if closed.look:
            self._stack[-1].parts.append(
                LookAround(closed.start, end, body, closed.behind, closed.look == "!")
            )
            self._position = end
        else:
            self._add(
                Group(closed.start, end, body, closed.number, closed.name, closed.on, closed.off)
            )

    def _check_references(self) -> None:
        for reference in self._references:
            target = reference.target
            if isinstance(target, int) and target > self._groups:
                raise PatternSyntaxError(
                    rf"there is no group {target}: write \x and two digits for a character",
                    reference.start,
                )
            if isinstance(target, str) and target not in self._names:
                raise PatternSyntaxError(f"no group is named {target[:20]}", reference.start)
