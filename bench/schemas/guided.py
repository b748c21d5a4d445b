"""Asks the engine itself in which order it takes the keys of a value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.schemas.order import scalar_text

if TYPE_CHECKING:
    import llguidance

_MOST_STEPS = 20_000


class GuidedWriter:
    """Writes a value into a matcher over single bytes, trying keys until the engine takes one.

    Recurses as deep as the value goes, which for the values of the public sets is not far.
    """

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher
        self._steps = 0

    def accepts(self, value: object) -> bool:
        """Whether the engine takes the value in some order of its keys."""
        self._matcher.reset()
        return self._value(value, b"") >= 0 and bool(self._matcher.is_accepting())

    def _take(self, text: bytes) -> int:
        """Writes a text; the number of bytes written, or -1 when the engine refuses it."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            return -1
        tokens = list(text)
        if self._matcher.validate_tokens(tokens) < len(tokens):
            return -1
        if not self._matcher.consume_tokens(tokens):
            return -1
        return len(tokens)

    def _value(self, value: object, before: bytes) -> int:
        """Writes `before` and a value; bytes written, or -1 with nothing left written."""
        if isinstance(value, dict):
            return self._object(value, before)
        if isinstance(value, list):
            return self._array(value, before)
        return self._take(before + scalar_text(value).encode())

    def _undo(self, written: int) -> int:
        if written > 0:
            self._matcher.rollback(written)
        return -1

    def _array(self, items: list[object], before: bytes) -> int:
        written = self._take(before + b"[")
        if written < 0:
            return -1
        for index, item in enumerate(items):
            more = self._value(item, b"," if index else b"")
            if more < 0:
                return self._undo(written)
            written += more
        more = self._take(b"]")
        return self._undo(written) if more < 0 else written + more

    def _object(self, members: dict[str, object], before: bytes) -> int:
        opened = self._take(before + b"{")
        if opened < 0:
            return -1
        rest = self._members(list(members.items()), first=True)
        return self._undo(opened) if rest < 0 else opened + rest

    def _members(self, members: list[tuple[str, object]], *, first: bool) -> int:
        if not members:
            return self._take(b"}")
        for index, (name, value) in enumerate(members):
            before = (b"" if first else b",") + json.dumps(name, ensure_ascii=False).encode() + b":"
            written = self._value(value, before)
            if written < 0:
                continue
            rest = self._members(members[:index] + members[index + 1 :], first=False)
            if rest >= 0:
                return written + rest
            self._undo(written)
        return -1
