"""Writes sets of characters in a way that every engine reads alike.

Without shorthands, nested classes and set operators, all of which engines read differently.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from genir_server.schema.pattern.properties import is_matched, is_surrogate
from genir_server.schema.pattern.syntax import (
    FIRST_SURROGATE,
    LAST_SURROGATE,
    MAX_CODE_POINT,
    CharacterClass,
    PatternUnsupportedError,
    Property,
    Range,
    Shorthand,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY = r"[\u{0}-\u{10FFFF}]"
NONE = r"[^\u{0}-\u{10FFFF}]"
NOT_LINE_END = r"[^\n\r\u2028\u2029]"
LINE_END = r"[\n\r\u2028\u2029]"
WORD = "[0-9A-Za-z_]"

# Classes that every engine reads as ECMA-262 does.
_COMMON = re.compile(
    r"""\[\^?(?![\]^])
        (?:[^\\\[\]&~^-](?:-[^\\\[\]&~^-])? | \\[nrt\\\]\[^/.*+?(){}|$-])+
        -?\]""",
    re.VERBOSE,
)
_SPECIAL = frozenset("\\[]^-&~")
# Rust reads two of them as an operator, and ECMA-262 has no escape for them.
_NOT_ESCAPED = frozenset("&~")
_CONTROLS = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_SPACES = (
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
)
_RANGES = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": _SPACES,
}
# Where case is ignored, these equal s and k, so they count as word characters too.
_OTHER_WORD_RANGES = ((0x17F, 0x17F), (0x212A, 0x212A))
_BMP_DIGITS = 4
_BYTE_DIGITS = 2


def written_set(node: CharacterClass, source: str, *, ignore_case: bool) -> str:
    """A class as text.

    Args:
        node: the class.
        source: the expression that has it.
        ignore_case: whether it stands where case is ignored.

    Raises:
        PatternUnsupportedError: it has a property that cannot be matched.

    """
    own = source[node.start : node.end]
    if _COMMON.fullmatch(own) and not any(
        FIRST_SURROGATE <= ord(character) <= LAST_SURROGATE for character in own
    ):
        return own
    items, negated = node.items, node.negated
    if len(items) == 1 and isinstance(items[0], Shorthand) and items[0].letter.isupper():
        # The complement of the other shorthand is shorter.
        items, negated = (Shorthand(items[0].letter.lower()),), not negated
    text = "".join(_written_item(item, ignore_case=ignore_case) for item in items)
    if not text:
        return ANY if negated else NONE
    return f"[{'^' if negated else ''}{text}]"


def written_character(character: str, special: Iterable[str] = ()) -> str:
    """A character as text: itself, or an escape if it is special or cannot be seen."""
    code = ord(character)
    if character in special and character not in _NOT_ESCAPED:
        return f"\\{character}"
    if character in _CONTROLS:
        return _CONTROLS[character]
    if " " <= character <= "~" and character not in special:
        return character
    digits = f"{code:X}"
    if len(digits) <= _BYTE_DIGITS:
        return f"\\x{digits:0>2}"
    return f"\\u{digits:0>4}" if len(digits) <= _BMP_DIGITS else f"\\u{{{digits}}}"


def _written_item(item: Range | Shorthand | Property, *, ignore_case: bool) -> str:
    if isinstance(item, Range):
        return _written_range(item.low, item.high)
    if isinstance(item, Property):
        return _written_property(item, ignore_case=ignore_case)
    ranges = _RANGES[item.letter.lower()]
    if item.letter.islower():
        return "".join(_written_range(low, high) for low, high in ranges)
    if item.letter == "W" and ignore_case:
        ranges += _OTHER_WORD_RANGES
    edges = [-1, *(edge for low, high in ranges for edge in (low - 1, high)), MAX_CODE_POINT]
    return "".join(
        _written_range(low + 1, high) for low, high in zip(edges[::2], edges[1::2], strict=True)
    )


def _written_range(low: int, high: int) -> str:
    """Code points without surrogates, which no JSON string has."""
    if FIRST_SURROGATE <= low <= LAST_SURROGATE:
        low = LAST_SURROGATE + 1
    if FIRST_SURROGATE <= high <= LAST_SURROGATE:
        high = FIRST_SURROGATE - 1
    if low > high:
        return ""
    first = written_character(chr(low), _SPECIAL)
    return first if low == high else f"{first}-{written_character(chr(high), _SPECIAL)}"


def _written_property(item: Property, *, ignore_case: bool) -> str:
    if is_surrogate(item.name):
        return _written_range(0, MAX_CODE_POINT) if item.negated else ""
    if not is_matched(item.name):
        raise PatternUnsupportedError(f"the property {item.name} is not supported", item.position)
    if item.negated and ignore_case:
        raise PatternUnsupportedError(
            r"\P where case is ignored is not supported: write [^\p{…}]", item.position
        )
    return f"\\{'P' if item.negated else 'p'}{{{item.name}}}"
