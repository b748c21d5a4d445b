"""Escapes text from a server, a model or a schema before people see it. Pure.

A control character may be a command to the terminal, and a bidirectional control changes the order
in which a line is shown. A line break forges a line, and an invisible character hides text.
"""

from __future__ import annotations

import json
import unicodedata

# Control and format characters, halves of surrogate pairs, line and paragraph separators.
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# The two zero width joiners, which several scripts and emoji need.
_JOINERS = "\u200c\u200d"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MAX_UNIT = 0xFFFF


def one_line(text: str) -> str:
    """The text in one line, with each character that could deceive people as JSON escapes it."""
    return _escaped(text, _JOINERS)


def multiline(text: str) -> str:
    """As `one_line`, but line breaks and tabs stay: for a text that has lines of its own."""
    return _escaped(text, f"{_JOINERS}\n\t")


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        _escape(each)
        if unicodedata.category(each) in _ESCAPED_CATEGORIES and each not in kept
        else each
        for each in text
    )


def _escape(character: str) -> str:
    if ord(character) > _MAX_UNIT:
        return json.dumps(character)[1:-1]
    return _SHORT.get(character, f"\\u{ord(character):04x}")
