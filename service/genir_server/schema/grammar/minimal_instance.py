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
from genir_server.schema.grammar.small_text import write_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import llguidance

_KEPT_ALTERNATIVES = 2
_KEYWORDS_WITH_SUBSCHEMAS = frozenset(
    {"properties", "additionalProperties", "items", "prefixItems", "anyOf", "allOf", "$ref"}
)


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
            matcher = compile_matcher(self._tokenizer, form)
            written = write_rest(matcher, b"", deadline, variation)
            if written is None:
                continue
            try:
                value = json.loads(written, parse_int=normal_integer)
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


def normal_integer(literal: str) -> float:
    """A whole number as the normal form has it: a double where that keeps a large one."""
    large = read_large_integer(literal)
    return int(literal) if large is None else large


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
