"""Finds out in which order an engine accepts the keys of a value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from bench.schemas.order import scalar_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    import llguidance

_MAX_STEPS = 20_000


class Acceptor(Protocol):
    """State of a constraint while a text is written."""

    def reset(self) -> None:
        """Discards the written text."""
        ...

    def take(self, text: bytes) -> int:
        """Writes a text. Returns the amount to pass to `undo`, or -1 if the engine refuses it."""
        ...

    def undo(self, written: int) -> None:
        """Removes the latest texts: takes the sum of what `take` returned for them."""
        ...

    def complete(self) -> bool:
        """Whether the text may end here."""
        ...


class GuidanceAcceptor:
    """llguidance over single bytes."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    def reset(self) -> None:
        """Discards the written text."""
        self._matcher.reset()

    def take(self, text: bytes) -> int:
        """Writes a text. Returns its length, or -1 if it is refused."""
        tokens = list(text)
        if self._matcher.validate_tokens(tokens) < len(tokens):
            return -1
        return len(tokens) if self._matcher.consume_tokens(tokens) else -1

    def undo(self, written: int) -> None:
        """Removes that many bytes."""
        self._matcher.rollback(written)

    def complete(self) -> bool:
        """Whether the text may end here."""
        return bool(self._matcher.is_accepting())


class GuidedWriter:
    """Writes a value under a constraint, trying keys until the engine accepts one.

    Recurses as deep as the value. Values in the public sets are shallow.

    Attributes:
        gave_up: whether the last value took too many steps, so that its answer is meaningless.

    """

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._steps = 0
        self.gave_up = False

    def accepts(self, value: object) -> bool:
        """Whether the engine accepts the value with some order of its keys."""
        self._acceptor.reset()
        self._steps = 0
        self.gave_up = False
        return self._value(value, b"") >= 0 and self._acceptor.complete()

    def _take(self, text: bytes) -> int:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            self.gave_up = True
            return -1
        return self._acceptor.take(text)

    def _value(self, value: object, before: bytes) -> int:
        """Writes `before` and a value. Returns the amount to undo, or -1 with nothing written."""
        if isinstance(value, dict):
            return self._object(value, before)
        if isinstance(value, list):
            return self._array(value, before)
        return self._take(before + scalar_text(value).encode())

    def _undo(self, written: int) -> int:
        if written > 0:
            self._acceptor.undo(written)
        return -1

    def _array(self, items: Iterable[object], before: bytes) -> int:
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
