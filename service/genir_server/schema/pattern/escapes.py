"""Reads what a backslash begins."""

from __future__ import annotations

import re

from genir_server.schema.pattern.properties import is_property
from genir_server.schema.pattern.syntax import (
    FIRST_SURROGATE,
    MAX_CODE_POINT,
    PatternSyntaxError,
    Property,
    Shorthand,
)

_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D}
_SETS = frozenset("dDwWsSpP")
_DIGIT = re.compile("[0-9]")
_LETTER = re.compile("[A-Za-z]")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_UNICODE = re.compile(r"\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{4})")
_TRAIL = re.compile(r"\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")
_PROPERTY = re.compile(r"\{([A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?)\}")
_GROUP_NAME = re.compile(r"<([^>]*)>")
_NAME_ESCAPE = re.compile(r"\\u(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{4}))")
_JOINERS = str.maketrans("", "", "\u200c\u200d")
# What people write who know another language's regular expressions.
_HINTS = {
    "A": "write ^",
    "Z": "write $",
    "z": "write $",
    "a": r"write \x07",
    "e": r"write \x1B",
    "h": r"write [ \t]",
    "R": r"write (?:\r\n|[\n\r])",
    "U": r"write \u{…}",
    "x": r"write two hexadecimal digits, or \u{…}",
    "u": r"write four hexadecimal digits, or \u{…} up to 10FFFF",
    "c": "write a letter after it",
    "p": r"write a property of ECMA-262 as \p{Lu} or \p{Script=Greek}",
    "P": r"write a property of ECMA-262 as \P{Lu} or \P{Script=Greek}",
    "k": r"write \k<name>",
}


def read_escape(source: str, start: int) -> tuple[int | Shorthand | Property, int]:
    r"""What the backslash at `start` stands for, inside and outside a class alike.

    Any character that is neither letter nor digit may be escaped, as without the flag `u`.

    Returns:
        A code point or a set of characters, and the index after the escape.

    Raises:
        PatternSyntaxError: it is no escape of ECMA-262.

    """
    letter, after = source[start + 1 : start + 2], start + 2
    found: tuple[int | Shorthand | Property, int] | None = None
    if letter in _CONTROLS:
        found = _CONTROLS[letter], after
    elif letter in _SETS:
        found = _set(source, start)
    elif letter == "0" and not _DIGIT.match(source, after):
        found = 0, after
    elif letter == "c" and _LETTER.match(source, after):
        found = ord(source[after]) % 32, after + 1
    elif letter == "x" and (digits := _HEX.match(source, after)):
        found = int(digits.group(), 16), digits.end()
    elif letter == "u":
        found = _code_point(source, after)
    elif letter and not letter.isalnum():
        found = ord(letter), after
    if found is None:
        raise _refusal(letter, start)
    return found


def _set(source: str, start: int) -> tuple[Shorthand | Property, int] | None:
    letter = source[start + 1]
    if letter not in "pP":
        return Shorthand(letter), start + 2
    name = _PROPERTY.match(source, start + 2)
    if name is None or not is_property(name.group(1)):
        return None
    return Property(name.group(1), letter == "P", start), name.end()


def read_group_name(source: str, start: int) -> tuple[str, int] | None:
    """The name in angle brackets at `start` and the index after it; None if there is none."""
    found = _GROUP_NAME.match(source, start)
    if found is None:
        return None
    try:
        name = _NAME_ESCAPE.sub(
            lambda escape: chr(int(escape.group(1) or escape.group(2), 16)), found.group(1)
        )
    except (ValueError, OverflowError):
        return None
    plain = name.replace("$", "_")
    if not (plain[:1] + plain[1:].translate(_JOINERS)).isidentifier():
        return None
    return name, found.end()


def _code_point(source: str, start: int) -> tuple[int, int] | None:
    found = _UNICODE.match(source, start)
    if found is None:
        return None
    digits = (found.group(1) or found.group(2)).lstrip("0") or "0"
    value = int(digits, 16) if len(digits) <= len(f"{MAX_CODE_POINT:x}") else MAX_CODE_POINT + 1
    if value > MAX_CODE_POINT:
        return None
    if found.group(2) and FIRST_SURROGATE <= value < FIRST_SURROGATE + 0x400:
        trail = _TRAIL.match(source, found.end())
        if trail is not None:
            low = int(trail.group(1), 16)
            return 0x10000 + ((value - FIRST_SURROGATE) << 10) + (low - 0xDC00), trail.end()
    return value, found.end()


def _refusal(letter: str, start: int) -> PatternSyntaxError:
    if not letter:
        return PatternSyntaxError("a backslash must not be the last character", start)
    if letter.isdigit():
        hint: str | None = r"write \x and two digits"
    else:
        hint = _HINTS.get(letter)
    what = rf"\{letter} here is not an escape of ECMA-262"
    return PatternSyntaxError(f"{what}: {hint}" if hint else what, start)
