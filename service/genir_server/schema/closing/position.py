"""Where a text that begins a JSON value ends: which containers are open and what is complete.

The text may end anywhere: inside a key, a string, an escape, a number or a UTF-8 character. Every
text has a longest part that can be closed as it is, and the position is that of its end. It is
after a complete value, after the bracket that opens a container, or inside a scalar value. So an
unfinished key, and the comma before it, are not part of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum, auto

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# The part of an unfinished string that consists of whole characters and escapes.
_WHOLE_CHARACTERS = re.compile(rb'"[^"\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*)*', re.DOTALL)
_HALF_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})$")
_WORD = re.compile(rb"[-+.0-9a-zA-Z]+")
_LITERALS = (b"true", b"false", b"null")
_WHITE_SPACE = b" \t\n\r"
_MAX_UTF8_BYTES = 4
_CONTINUATION = 0x80
# Python reads longer integers only up to a limit, and nothing here needs their digits.
_MAX_EXACT_DIGITS = 18


@dataclass(slots=True)
class Frame:
    """An open container.

    Attributes:
        value: its complete members or items.
        key: the key of the member whose value is open; None in arrays, and where none is open.

    """

    value: dict[str, object] | list[object]
    key: str | None = None

    @property
    def is_object(self) -> bool:
        """Whether it is an object."""
        return isinstance(self.value, dict)

    @property
    def token(self) -> str | int | None:
        """The token of a JSON Pointer for the open value in it; None if a key is missing."""
        return self.key if isinstance(self.value, dict) else len(self.value)

    def add(self, value: object) -> None:
        """Adds the value that was open, which is complete now."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is not None:
            self.value[self.key] = value
            self.key = None


@dataclass(slots=True)
class Position:
    """The end of the longest part of a text that can be closed as it is.

    Attributes:
        kept: bytes of that part.
        frames: the open containers, outermost first.
        scalar: where the unfinished scalar value begins, in bytes; None if there is none. A number
            counts as unfinished, because more digits may follow.
        is_complete: whether the text is a whole value.

    """

    kept: int = 0
    frames: list[Frame] = field(default_factory=list)
    scalar: int | None = None
    is_complete: bool = False


class NoValueError(Exception):
    """A text begins no JSON value."""


def read_position(text: bytes) -> Position:
    """Reads a text that begins a JSON value, in linear time.

    Raises:
        NoValueError: the text begins no JSON value.

    """
    try:
        return _Reader(text).read()
    except ValueError as fault:
        raise NoValueError(str(fault)) from None


class _Next(Enum):
    """What may come next."""

    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


class _Reader:
    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._next = _Next.VALUE
        self._result = Position()

    def read(self) -> Position:
        result = self._result
        while self._at < len(self._text) and result.scalar is None:
            byte = self._text[self._at : self._at + 1]
            if byte in _WHITE_SPACE:
                self._at += 1
            elif self._next in (_Next.VALUE, _Next.VALUE_OR_END):
                self._read_value(byte)
            elif self._next in (_Next.KEY, _Next.KEY_OR_END):
                self._read_key(byte)
            else:
                self._read_sign(byte)
        if result.frames and result.scalar is None:
            result.frames[-1].key = None
        return result

    def _read_value(self, byte: bytes) -> None:
        if byte == b"{":
            self._open(Frame({}), _Next.KEY_OR_END)
        elif byte == b"[":
            self._open(Frame([]), _Next.VALUE_OR_END)
        elif byte == b"]" and self._next is _Next.VALUE_OR_END:
            self._close()
        elif byte == b'"':
            found = _STRING.match(self._text, self._at)
            if found is None:
                self._leave_open(_end_of_characters(self._text, self._at))
            else:
                self._complete(json.loads(found[0]), found.end())
        else:
            self._read_word()

    def _read_word(self) -> None:
        found = _WORD.match(self._text, self._at)
        if found is None:
            raise ValueError("no value begins like this")
        word = found[0]
        is_number = word[:1] in b"-0123456789"
        if not is_number and not any(literal.startswith(word) for literal in _LITERALS):
            raise ValueError("no value begins like this")
        if found.end() == len(self._text) and word not in _LITERALS:
            self._leave_open(found.end())
        else:
            self._complete(json.loads(word, parse_int=_integer), found.end())

    def _read_key(self, byte: bytes) -> None:
        if byte == b"}" and self._next is _Next.KEY_OR_END:
            self._close()
            return
        found = _STRING.match(self._text, self._at)
        if found is not None:
            self._result.frames[-1].key = json.loads(found[0])
            self._at = found.end()
            self._next = _Next.COLON
        elif byte == b'"':
            self._at = len(self._text)
        else:
            raise ValueError("a key is missing")

    def _read_sign(self, byte: bytes) -> None:
        frames = self._result.frames
        if self._next is _Next.COLON and byte == b":":
            self._next = _Next.VALUE
        elif self._next is _Next.COMMA_OR_END and byte == b",":
            self._next = _Next.KEY if frames[-1].is_object else _Next.VALUE
        elif self._next is _Next.COMMA_OR_END and byte == (b"}" if frames[-1].is_object else b"]"):
            self._close()
            return
        else:
            raise ValueError("nothing in a JSON value looks like this")
        self._at += 1

    def _open(self, frame: Frame, following: _Next) -> None:
        self._result.frames.append(frame)
        self._at += 1
        self._result.kept = self._at
        self._next = following

    def _close(self) -> None:
        closed = self._result.frames.pop()
        self._complete(closed.value, self._at + 1)

    def _complete(self, value: object, end: int) -> None:
        self._at = self._result.kept = end
        if self._result.frames:
            self._result.frames[-1].add(value)
            self._next = _Next.COMMA_OR_END
        else:
            self._result.is_complete = True
            self._next = _Next.NOTHING

    def _leave_open(self, kept: int) -> None:
        self._result.scalar = self._at
        self._result.kept = kept


def _end_of_characters(text: bytes, start: int) -> int:
    """Where the last whole character ends in an unfinished string that begins at `start`."""
    found = _WHOLE_CHARACTERS.match(text, start)
    end = start + 1 if found is None else found.end()
    half = _HALF_PAIR.search(text, start, end)
    if half is not None:
        return half.start(1)
    last = end - 1
    while last > start and end - last < _MAX_UTF8_BYTES and text[last] & 0xC0 == _CONTINUATION:
        last -= 1
    try:
        text[last:end].decode()
    except UnicodeDecodeError:
        return last
    return end


def _integer(literal: str) -> float:
    return int(literal) if len(literal) <= _MAX_EXACT_DIGITS else float(literal)
