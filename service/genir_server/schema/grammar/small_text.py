"""Writes little, byte by byte, until a grammar accepts the text.

The engine's matcher says which bytes may come next. So the value satisfies the whole grammar, even
where several schemas apply to one place.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import llguidance

_MAX_STEPS = 3_000
_MAX_BYTES = 20_000
# Bytes in the order of preference, outside and inside strings: those that end a value first.
_OUTSIDE_STRING = b'}],:nft"0123456789[{-.'
_INSIDE_STRING = b'"aeiouxyz0123456789_-./:@ '
# So many are tested one by one before a whole mask is computed.
_TESTED_BYTES = 6
# After this many equal bytes, others are preferred: "@" gets out of the "aaaa…" of an address.
_MAX_RUN = 8
_AFTER_ZEROS = b"1"
_AFTER_RUN = b'"@./:-'
# A string with this many bytes has a large minLength: from here on, only its end is searched.
_LONG_STRING_BYTES = 64
_QUOTE = 0x22
_BACKSLASH = 0x5C
_CLOSER = 0x7D


def write_rest(
    matcher: llguidance.LLMatcher,
    begun: bytes,
    deadline: float,
    variation: int = 0,
    names: Sequence[bytes] = (),
) -> str | None:
    """The rest of a small value; None when none is found.

    Args:
        matcher: a matcher with single bytes as tokens, which has consumed `begun`; it is changed.
        begun: how the value begins.
        deadline: processor time of this thread at which the search stops.
        variation: 0 for the small value, other numbers for others.
        names: names of members that are preferred, as JSON with the colon.

    """
    text = _Text()
    text.add(begun)
    for step in range(_MAX_STEPS):
        if matcher.is_error() or len(text.written) - len(begun) > _MAX_BYTES:
            return None
        if time.thread_time() > deadline:
            return None
        # Only a number could go on here; the shortest one is wanted.
        if matcher.is_accepting():
            break
        following = _name(matcher, text, names) or bytes(matcher.compute_ff_bytes())
        if not following:
            choice = _choose(matcher, text, step * variation)
            if choice is None:
                break
            following = bytes([choice])
            if text.is_long_string and text.ends_with_run(_MAX_RUN, choice):
                following *= _run_length(matcher, choice, deadline)
        if not matcher.consume_tokens(list(following)):
            return None
        text.add(following)
    if not matcher.is_accepting():
        return None
    try:
        return text.written[len(begun) :].decode()
    except UnicodeDecodeError:
        return None


def _name(matcher: llguidance.LLMatcher, text: _Text, names: Sequence[bytes]) -> bytes | None:
    """The first name that may come next, where a name may come and the object cannot end."""
    if not names or text.inside_string or not text.written.endswith((b"{", b",")):
        return None
    if matcher.validate_tokens([_CLOSER]):
        return None
    for name in names:
        if matcher.validate_tokens(list(name)) == len(name):
            return name
    return None


def _choose(matcher: llguidance.LLMatcher, text: _Text, variation: int) -> int | None:
    """The byte to write next; None when there is none."""
    order = _INSIDE_STRING if text.inside_string else _OUTSIDE_STRING
    if text.inside_string and text.ends_with_run(_MAX_RUN) and not text.is_long_string:
        order = _AFTER_RUN + order
    if not text.inside_string and text.ends_with_run(_MAX_RUN):
        # "-0.00000000" ends with another digit where 0 itself is excluded.
        order = _AFTER_ZEROS + order
    if not variation:
        for byte in order[:_TESTED_BYTES]:
            if matcher.validate_tokens([byte]):
                return byte
    mask = matcher.compute_bitmask()
    allowed = [byte for byte in order if _allows(mask, byte)]
    if not allowed:
        allowed = [byte for byte in range(0x20, 0x100) if _allows(mask, byte)]
    if not allowed:
        return None
    if allowed[0] in b"}]":
        return allowed[0]
    return allowed[variation % len(allowed)]


class _Text:
    """The text written so far, and whether its end is inside a string."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.inside_string = False
        self._escaped = False
        self._opened = 0

    @property
    def is_long_string(self) -> bool:
        """Whether the end is inside a string that is already long."""
        return self.inside_string and len(self.written) - self._opened > _LONG_STRING_BYTES

    def add(self, following: bytes) -> None:
        for at, byte in enumerate(following, len(self.written)):
            if self._escaped:
                self._escaped = False
            elif byte == _BACKSLASH:
                self._escaped = self.inside_string
            elif byte == _QUOTE:
                self.inside_string = not self.inside_string
                self._opened = at
        self.written += following

    def ends_with_run(self, length: int, byte: int | None = None) -> bool:
        """Whether the text ends with `length` times one byte: any byte if `byte` is None."""
        end = self.written[-length:]
        return len(end) == length and len(set(end)) == 1 and (byte is None or end[-1] == byte)


def _run_length(matcher: llguidance.LLMatcher, byte: int, deadline: float) -> int:
    """How often to repeat a byte until the string may end or it no longer fits; at least once."""
    length, step = 0, 1
    while length < _MAX_BYTES and time.thread_time() < deadline:
        step = matcher.validate_tokens([byte] * step)
        matcher.consume_tokens([byte] * step)
        length += step
        if not step or matcher.validate_tokens([_QUOTE]):
            break
        step *= 2
    # The last step may have gone too far: go back by halves.
    while step > 1 and time.thread_time() < deadline and matcher.validate_tokens([_QUOTE]):
        half = step // 2
        matcher.rollback(half)
        if matcher.validate_tokens([_QUOTE]):
            length -= half
            step -= half
        else:
            matcher.consume_tokens([byte] * half)
            step = half
    matcher.rollback(length)
    return max(1, length)


def _allows(mask: bytes, token: int) -> bool:
    return bool(mask[token >> 3] >> (token & 7) & 1)
