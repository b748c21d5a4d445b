"""Finds small values that a grammar accepts, by writing them byte by byte.

The engine's matcher says which bytes may come next. So the value satisfies the whole grammar, even
where several schemas apply to one place.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from genir_server.domain.numbers import read_large_integer
from genir_server.schema.grammar.guidance import compile_matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
_KEPT_ALTERNATIVES = 2
_KEYWORDS_WITH_SUBSCHEMAS = frozenset(
    {"properties", "additionalProperties", "items", "prefixItems", "anyOf", "allOf", "$ref"}
)
_QUOTE = 0x22
_BACKSLASH = 0x5C


class MinimalInstanceFinder:
    """Finds a small value for an engine schema.

    Args:
        tokenizer: one whose tokens are single bytes, with the byte as the token's number.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer) -> None:
        self._tokenizer = tokenizer

    def find(
        self,
        schema: dict[str, object],
        is_valid: Callable[[object], bool],
        tries: int = 3,
        seconds: float = 1.0,
    ) -> str | None:
        """Compact JSON of a small value for which `is_valid` is true; None when none is found.

        Args:
            schema: the engine schema.
            is_valid: whether a parsed value is valid for the caller's own schema.
            tries: how many values are tried under the full schema, after smaller forms of it.
            seconds: processor time after which the search stops; compiling is not interrupted.

        """
        deadline = time.thread_time() + seconds
        for form, variation in self._forms(schema, tries):
            if time.thread_time() > deadline:
                break
            written = self._write(form, variation, deadline)
            if written is None:
                continue
            try:
                value = json.loads(written, parse_int=_integer)
            except ValueError:
                continue
            if is_valid(value):
                return written
        return None

    @staticmethod
    def _forms(schema: dict[str, object], tries: int) -> Iterator[tuple[str, int]]:
        """Forms of the schema, those that compile quickly first, each with a variation number."""
        required = required_only(schema)
        fewer = few_alternatives(required)
        if fewer is not None:
            yield json.dumps(fewer), 0
        yield json.dumps(required), 0
        text = json.dumps(schema)
        for attempt in range(tries):
            yield text, attempt

    def _write(self, schema: str, variation: int, deadline: float) -> str | None:
        matcher = compile_matcher(self._tokenizer, schema)
        text = _Text()
        for step in range(_MAX_STEPS):
            if matcher.is_error() or len(text.written) > _MAX_BYTES:
                return None
            if time.thread_time() > deadline:
                return None
            # Only a number could go on here; the shortest one is wanted.
            if matcher.is_accepting():
                break
            following = bytes(matcher.compute_ff_bytes())
            if not following:
                choice = self._choose(matcher, text, step * variation)
                if choice is None:
                    break
                following = bytes([choice])
                if text.is_long_string and text.ends_with_run(_MAX_RUN, choice):
                    following *= _run_length(matcher, choice, deadline)
            if not matcher.consume_tokens(list(following)):
                return None
            text.add(following)
        return text.decoded() if matcher.is_accepting() else None

    def _choose(self, matcher: llguidance.LLMatcher, text: _Text, variation: int) -> int | None:
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

    def decoded(self) -> str | None:
        try:
            return self.written.decode()
        except UnicodeDecodeError:
            return None


def _integer(literal: str) -> float:
    """A whole number as the normal form has it: a double where that keeps a large one."""
    large = read_large_integer(literal)
    return int(literal) if large is None else large


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


def required_only(root: dict[str, object]) -> dict[str, object]:
    """The schema without the properties that no part of it requires."""
    copy: dict[str, object] = json.loads(json.dumps(root))
    required_names: set[str] = set()
    schemas: list[dict[str, object]] = []
    for item in _objects(copy):
        required = item.get("required")
        if isinstance(required, list):
            required_names.update(name for name in required if isinstance(name, str))
        if isinstance(item.get("properties"), dict):
            schemas.append(item)
    for schema in schemas:
        properties = schema["properties"]
        if isinstance(properties, dict) and "minProperties" not in schema:
            for name, part in properties.items():
                if name not in required_names and isinstance(part, dict | bool):
                    properties[name] = False
    return copy


def few_alternatives(root: dict[str, object]) -> dict[str, object] | None:
    """The schema with two alternatives in each `anyOf`, preferably without subschemas.

    None when there are nowhere more than two.
    """
    copy: dict[str, object] = json.loads(json.dumps(root))
    dropped = False
    for item in _objects(copy):
        options = item.get("anyOf")
        if isinstance(options, list) and len(options) > _KEPT_ALTERNATIVES:
            options.sort(key=_has_subschemas)
            del options[_KEPT_ALTERNATIVES:]
            dropped = True
    return copy if dropped else None


def _objects(root: dict[str, object]) -> Iterator[dict[str, object]]:
    """Every object in a JSON value, outer ones first: changes on the way are seen."""
    pending: list[object] = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            yield item
            pending.extend(item.values())


def _has_subschemas(schema: object) -> bool:
    return schema is False or (
        isinstance(schema, dict) and not _KEYWORDS_WITH_SUBSCHEMAS.isdisjoint(schema)
    )
