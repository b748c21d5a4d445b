"""Reads a class in brackets."""

from __future__ import annotations

from genir_server.schema.pattern.escapes import read_escape
from genir_server.schema.pattern.syntax import (
    CharacterClass,
    PatternSyntaxError,
    Property,
    Range,
    Shorthand,
)

_HYPHEN = ord("-")
_BACKSPACE = 0x08


def read_class(source: str, start: int) -> tuple[CharacterClass, bool]:
    r"""The class whose bracket is at `start`.

    A hyphen beside ``\w`` and the like is a hyphen, as without the flag `u`.

    Returns:
        The class, and whether it has a bracket inside that no backslash precedes.

    Raises:
        PatternSyntaxError: it is not a class of ECMA-262.

    """
    negated = source.startswith("^", start + 1)
    position = start + 1 + negated
    items: list[Range | Shorthand | Property] = []
    has_bracket = False
    while True:
        character = source[position : position + 1]
        if not character:
            raise PatternSyntaxError("the class has no closing bracket", start)
        if character == "]":
            return CharacterClass(start, position + 1, negated, tuple(items)), has_bracket
        has_bracket = has_bracket or character == "["
        first, after = _atom(source, position)
        if source.startswith("-", after) and source[after + 1 : after + 2] not in ("]", ""):
            last, end = _atom(source, after + 1)
            has_bracket = has_bracket or source[after + 1] == "["
            if isinstance(first, int) and isinstance(last, int):
                if first > last:
                    raise PatternSyntaxError("the range in the class is out of order", position)
                items.append(Range(first, last))
            else:
                items += [_item(first), _item(_HYPHEN), _item(last)]
            position = end
        else:
            items.append(_item(first))
            position = after


def _atom(source: str, position: int) -> tuple[int | Shorthand | Property, int]:
    if source[position] != "\\":
        return ord(source[position]), position + 1
    if source.startswith("b", position + 1):
        return _BACKSPACE, position + 2
    return read_escape(source, position)


def _item(atom: int | Shorthand | Property) -> Range | Shorthand | Property:
    return Range(atom, atom) if isinstance(atom, int) else atom
