"""A lower bound on the number of tokens of any valid value.

Only text that is part of every valid value counts (names of required properties and constants),
and it counts as if the model wrote it with the fewest tokens that its vocabulary allows. The bound
must never be too high, because a request with a smaller token budget is refused.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUOTE = 0x22
_ROUNDS = 3
_MAX_VALUES = 200


class Vocabulary:
    """The texts of all tokens.

    Args:
        tokens: the bytes of every token.

    """

    def __init__(self, tokens: Iterable[bytes]) -> None:
        self._tokens = frozenset(token for token in tokens if token)
        self._sorted = sorted(self._tokens)
        self._max_length = max(map(len, self._tokens), default=1)
        self._quoted_ends = frozenset(
            token[index:]
            for token in self._tokens
            for index in range(1, len(token))
            if token[index] == _QUOTE
        )
        self._known: dict[bytes, int] = {}

    def min_tokens(self, literal: bytes) -> int:
        """The fewest tokens that write a text which begins with a quotation mark.

        The first token may begin before the text and the last may end after it.
        """
        known = self._known.get(literal)
        if known is None:
            known = self._known[literal] = self._min_tokens(literal)
        return known

    def _min_tokens(self, literal: bytes) -> int:
        size = len(literal)
        if self._reaches_past(literal) or any(literal in end for end in self._quoted_ends):
            return 1
        unreached = size + 1
        # By position in the text: the fewest tokens that write everything before it.
        fewest = [unreached] * (size + 1)
        fewest[0] = 0
        best = unreached
        for start in range(size):
            if fewest[start] == unreached:
                continue
            rest = literal[start:]
            if self._reaches_past(rest):
                best = min(best, fewest[start] + 1)
            for length in range(1, min(self._max_length, size - start) + 1):
                piece = rest[:length]
                if piece in self._tokens or (start == 0 and piece in self._quoted_ends):
                    reached = start + length
                    fewest[reached] = min(fewest[reached], fewest[start] + 1)
        return min(best, fewest[size])

    def _reaches_past(self, text: bytes) -> bool:
        """Whether some token begins with `text`."""
        index = bisect_left(self._sorted, text)
        return index < len(self._sorted) and self._sorted[index].startswith(text)


def min_tokens(schema: dict[str, object] | bool, vocabulary: Vocabulary) -> int:
    """The lower bound for an engine schema, 1 and up."""
    if isinstance(schema, bool):
        return 1
    parts = _parts(schema)
    bounds: dict[int, int] = {}
    # Every round gives correct bounds, and later ones higher bounds. A few rounds see through
    # definitions that are listed before those they refer to. Without references, one is enough.
    for _ in range(_ROUNDS if any("$ref" in part for part in parts) else 1):
        changed = False
        for part in reversed(parts):
            bound = _bound(part, schema, bounds, vocabulary)
            if bound != bounds.get(id(part), 0):
                bounds[id(part)] = bound
                changed = True
        if not changed:
            break
    return bounds.get(id(schema), 0) + 1


def _parts(root: dict[str, object]) -> list[dict[str, object]]:
    """Every schema in an engine schema, outer ones first."""
    found: list[dict[str, object]] = []
    pending: list[object] = [root]
    seen: set[int] = set()
    while pending:
        schema = pending.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        found.append(schema)
        for keyword in ("properties", "patternProperties", "$defs"):
            inner = schema.get(keyword)
            if isinstance(inner, dict):
                pending.extend(inner.values())
        for keyword in ("anyOf", "allOf", "prefixItems"):
            inner = schema.get(keyword)
            if isinstance(inner, list):
                pending.extend(inner)
        pending.extend(schema.get(keyword) for keyword in ("items", "additionalProperties"))
    return found


def _bound(
    schema: dict[str, object],
    root: dict[str, object],
    bounds: dict[int, int],
    vocabulary: Vocabulary,
) -> int:
    """The lower bound for `schema` alone, minus one."""
    found = [0]
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and 0 < len(values) <= _MAX_VALUES:
        found.append(min(_literal(value, vocabulary) for value in values))
    found.extend(bounds.get(id(part), 0) for part in _list(schema.get("allOf")))
    options = _list(schema.get("anyOf"))
    if options:
        found.append(min(bounds.get(id(option), 0) for option in options))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found.append(bounds.get(id(_definition(root, reference)), 0))
    if schema.get("type") == "object":
        found.append(_object(schema, bounds, vocabulary))
    if schema.get("type") == "array":
        found.append(_array(schema, bounds))
    return max(found)


def _definition(root: dict[str, object], reference: str) -> object:
    definitions = root.get("$defs")
    if reference == "#" or not isinstance(definitions, dict):
        return root
    return definitions.get(reference.rpartition("/")[2])


def _object(schema: dict[str, object], bounds: dict[int, int], vocabulary: Vocabulary) -> int:
    properties = schema.get("properties")
    named = properties if isinstance(properties, dict) else {}
    total = 0
    for name in _list(schema.get("required")):
        literal = _plain_literal(name)
        if literal is not None:
            total += vocabulary.min_tokens(literal + b":") - 1
        total += bounds.get(id(named.get(str(name))), 0)
    return total


def _array(schema: dict[str, object], bounds: dict[int, int]) -> int:
    min_items = schema.get("minItems", 0)
    if not isinstance(min_items, int):
        return 0
    prefix = _list(schema.get("prefixItems"))
    total = sum(bounds.get(id(part), 0) for part in prefix[:min_items])
    # `items` may be true, whose id is in no entry of `bounds`.
    return total + max(0, min_items - len(prefix)) * bounds.get(id(schema.get("items")), 0)


def _literal(value: object, vocabulary: Vocabulary) -> int:
    literal = _plain_literal(value)
    return 0 if literal is None else vocabulary.min_tokens(literal) - 1


def _plain_literal(value: object) -> bytes | None:
    """A string as JSON, if there is only one way to write it; otherwise None."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return None
    return None if '"' in value or "\\" in value else b'"%b"' % value.encode()


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
