"""Writes values that a grammar accepts, byte by byte: small ones first.

The engine's own matcher says which bytes may come next, so that whatever schemas meet at a
place, what is written there satisfies them all as far as the engine enforces them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from genir_server.schema import engine

if TYPE_CHECKING:
    from collections.abc import Callable

    import llguidance

_MOST_STEPS = 3_000
_MOST_BYTES = 20_000
_OUTSIDE = b'}],:nft"0123456789[{-.'
_INSIDE = b'"aeiouxyz0123456789_-./:@ '
_QUOTE = 0x22
_BACKSLASH = 0x5C


class SmallestWriter:
    """Finds a small value for an engine schema.

    Args:
        tokenizer: one whose tokens are single bytes, each with the byte's own number.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._end = int(tokenizer.eos_token)

    def write(
        self, schema: dict[str, object], accepts: Callable[[object], bool], tries: int = 4
    ) -> str | None:
        """Compact JSON of a small value that `accepts` agrees with; None when none is found.

        Args:
            schema: the engine schema.
            accepts: whether a parsed value is really valid.
            tries: how many values are tried.

        """
        text = json.dumps(schema)
        for attempt in range(tries):
            subject = json.dumps(required_only(schema)) if attempt == 0 else text
            written = self._write(subject, skip=max(0, attempt - 1))
            if written is None:
                continue
            try:
                value = json.loads(written)
            except ValueError:
                continue
            if accepts(value):
                return written
        return None

    def _write(self, schema: str, skip: int) -> str | None:
        matcher = engine.matcher(self._tokenizer, schema)
        written = bytearray()
        for step in range(_MOST_STEPS):
            if matcher.is_error() or len(written) > _MOST_BYTES:
                return None
            if matcher.is_accepting() and written[:1] not in b"-0123456789":
                break
            forced = bytes(matcher.compute_ff_bytes())
            if forced:
                if not matcher.consume_tokens(list(forced)):
                    return None
                written += forced
                continue
            order = _INSIDE if _in_string(written) else _OUTSIDE
            choice = self._choose(matcher.compute_bitmask(), order, step * skip)
            if choice is None:
                break
            if not matcher.consume_token(choice):
                return None
            written.append(choice)
        if not matcher.is_accepting():
            return None
        try:
            return written.decode()
        except UnicodeDecodeError:
            return None

    def _choose(self, mask: bytes, order: bytes, variation: int) -> int | None:
        """The byte to write next; None when the value may end here."""
        if _holds(mask, self._end):
            return None
        allowed = [byte for byte in order if _holds(mask, byte)]
        if not allowed:
            allowed = [byte for byte in range(0x20, 0x100) if _holds(mask, byte)]
        if not allowed:
            return None
        if variation and allowed[0] not in b"}]":
            return allowed[variation % len(allowed)]
        return allowed[0]


def _holds(mask: bytes, token: int) -> bool:
    return bool(mask[token >> 3] >> (token & 7) & 1)


def _in_string(written: bytearray) -> bool:
    """Whether the next byte stands inside a string."""
    inside = False
    escaped = False
    for byte in written:
        if escaped:
            escaped = False
        elif byte == _BACKSLASH:
            escaped = inside
        elif byte == _QUOTE:
            inside = not inside
    return inside


def required_only(root: dict[str, object]) -> dict[str, object]:
    """The schema without properties that no part of it ever requires."""
    copy: dict[str, object] = json.loads(json.dumps(root))
    demanded: set[str] = set()
    schemas: list[dict[str, object]] = []
    pending: list[object] = [copy]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
            if isinstance(item.get("required"), list):
                demanded.update(name for name in item["required"] if isinstance(name, str))
            if isinstance(item.get("properties"), dict):
                schemas.append(item)
    for schema in schemas:
        properties = schema["properties"]
        if isinstance(properties, dict) and "minProperties" not in schema:
            for name, part in properties.items():
                if name not in demanded and isinstance(part, dict | bool):
                    properties[name] = False
    return copy
