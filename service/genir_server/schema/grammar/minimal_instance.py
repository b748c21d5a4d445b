"""Writes values that a grammar accepts, byte by byte: small ones first.

The engine's own matcher says which bytes may come next, so that whatever schemas meet at a
place, what is written there satisfies them all as far as the engine enforces them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from genir_server.schema.grammar import guidance as engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import llguidance

_MOST_STEPS = 3_000
_MOST_BYTES = 20_000
_OUTSIDE = b'}],:nft"0123456789[{-.'
_INSIDE = b'"aeiouxyz0123456789_-./:@ '
_TRIED = 6
# Where a letter may be repeated for long, the way out may be another: "a" and "@" in an address.
_LONGEST_RUN = 8
_AFTER_RUN = b'"@./:-'
# A string of so many bytes is one that must be long: only its end is looked for from there on.
_LONG_STRING = 64
_KEPT_ALTERNATIVES = 2
_HOLDERS = frozenset(
    {"properties", "additionalProperties", "items", "prefixItems", "anyOf", "allOf", "$ref"}
)
_QUOTE = 0x22
_BACKSLASH = 0x5C


class SmallestWriter:
    """Finds a small value for an engine schema.

    Args:
        tokenizer: one whose tokens are single bytes, each with the byte's own number.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer) -> None:
        self._tokenizer = tokenizer

    def write(
        self,
        schema: dict[str, object],
        accepts: Callable[[object], bool],
        tries: int = 3,
        seconds: float = 1.0,
    ) -> str | None:
        """Compact JSON of a small value that `accepts` agrees with; None when none is found.

        Args:
            schema: the engine schema.
            accepts: whether a parsed value is really valid.
            tries: how many values are tried under the whole schema, after smaller forms of it.
            seconds: processor time after which nothing more is tried; compiling a form of the
                schema is not broken off.

        """
        deadline = time.thread_time() + seconds
        for subject, skip in self._subjects(schema, tries):
            if time.thread_time() > deadline:
                break
            written = self._write(subject, skip, deadline)
            if written is None:
                continue
            try:
                value = json.loads(written)
            except ValueError:
                continue
            if accepts(value):
                return written
        return None

    @staticmethod
    def _subjects(schema: dict[str, object], tries: int) -> Iterator[tuple[str, int]]:
        """Texts of schemas to write for, quickly compiled ones first, and where to vary."""
        demanded = required_only(schema)
        light = light_only(demanded)
        if light is not None:
            yield json.dumps(light), 0
        yield json.dumps(demanded), 0
        text = json.dumps(schema)
        for attempt in range(tries):
            yield text, attempt

    def _write(self, schema: str, skip: int, deadline: float) -> str | None:
        matcher = engine.matcher(self._tokenizer, schema)
        text = _Text()
        for step in range(_MOST_STEPS):
            if matcher.is_error() or len(text.written) > _MOST_BYTES:
                return None
            if time.thread_time() > deadline:
                return None
            # A number may always go on; anything else that may end is at its end.
            if matcher.is_accepting():
                break
            following = bytes(matcher.compute_ff_bytes())
            if not following:
                choice = self._choose(matcher, text, step * skip)
                if choice is None:
                    break
                following = bytes([choice])
                if text.is_long_string and text.ends_with_run(_LONGEST_RUN, choice):
                    following *= _run_length(matcher, choice, deadline)
            if not matcher.consume_tokens(list(following)):
                return None
            text.add(following)
        return text.decoded() if matcher.is_accepting() else None

    def _choose(self, matcher: llguidance.LLMatcher, text: _Text, variation: int) -> int | None:
        """The byte to write next; None when there is none."""
        order = _INSIDE if text.inside_string else _OUTSIDE
        if text.inside_string and text.ends_with_run(_LONGEST_RUN) and not text.is_long_string:
            order = _AFTER_RUN + order
        if not variation:
            for byte in order[:_TRIED]:
                if matcher.validate_tokens([byte]):
                    return byte
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in order if _holds(mask, byte)]
        if not allowed:
            allowed = [byte for byte in range(0x20, 0x100) if _holds(mask, byte)]
        if not allowed:
            return None
        if allowed[0] in b"}]":
            return allowed[0]
        return allowed[variation % len(allowed)]


class _Text:
    """What was written so far, and whether its end is inside a string."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.inside_string = False
        self._escaped = False
        self._opened = 0

    @property
    def is_long_string(self) -> bool:
        """Whether the end is inside a string that is long already."""
        return self.inside_string and len(self.written) - self._opened > _LONG_STRING

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
        """Whether so many of one byte stand at the end; of any byte if `byte` is None."""
        end = self.written[-length:]
        return len(end) == length and len(set(end)) == 1 and (byte is None or end[-1] == byte)

    def decoded(self) -> str | None:
        try:
            return self.written.decode()
        except UnicodeDecodeError:
            return None


def _run_length(matcher: llguidance.LLMatcher, byte: int, deadline: float) -> int:
    """How many of a byte to write until the string may end or no more of it fit; at least one."""
    length, step = 0, 1
    while length < _MOST_BYTES and time.thread_time() < deadline:
        step = matcher.validate_tokens([byte] * step)
        matcher.consume_tokens([byte] * step)
        length += step
        if not step or matcher.validate_tokens([_QUOTE]):
            break
        step *= 2
    # The last step may have gone too far: by less than itself.
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


def _holds(mask: bytes, token: int) -> bool:
    return bool(mask[token >> 3] >> (token & 7) & 1)


def required_only(root: dict[str, object]) -> dict[str, object]:
    """The schema without properties that no part of it ever requires."""
    copy: dict[str, object] = json.loads(json.dumps(root))
    demanded: set[str] = set()
    schemas: list[dict[str, object]] = []
    for item in _objects(copy):
        required = item.get("required")
        if isinstance(required, list):
            demanded.update(name for name in required if isinstance(name, str))
        if isinstance(item.get("properties"), dict):
            schemas.append(item)
    for schema in schemas:
        properties = schema["properties"]
        if isinstance(properties, dict) and "minProperties" not in schema:
            for name, part in properties.items():
                if name not in demanded and isinstance(part, dict | bool):
                    properties[name] = False
    return copy


def light_only(root: dict[str, object]) -> dict[str, object] | None:
    """The schema with two of many alternatives: those that hold no other schemas, if there are.

    None when it has nowhere more than two.
    """
    copy: dict[str, object] = json.loads(json.dumps(root))
    dropped = False
    for item in _objects(copy):
        options = item.get("anyOf")
        if isinstance(options, list) and len(options) > _KEPT_ALTERNATIVES:
            options.sort(key=_is_heavy)
            del options[_KEPT_ALTERNATIVES:]
            dropped = True
    return copy if dropped else None


def _objects(root: dict[str, object]) -> Iterator[dict[str, object]]:
    """Every object in a JSON value, outer ones first, so that they may be changed on the way."""
    pending: list[object] = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            yield item
            pending.extend(item.values())


def _is_heavy(schema: object) -> bool:
    return schema is False or (isinstance(schema, dict) and not _HOLDERS.isdisjoint(schema))
