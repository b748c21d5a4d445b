"""A number of tokens below which no valid value can be written.

Counts only text that every valid value holds (names of required properties and constants), and
counts it as if the model wrote it with the fewest tokens that its vocabulary allows. It never
counts too much: a request is refused because of it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUOTE = 0x22
_ROUNDS = 3
_MOST_VALUES = 200


class Vocabulary:
    """The texts that single tokens stand for.

    Args:
        tokens: the bytes of every token.

    """

    def __init__(self, tokens: Iterable[bytes]) -> None:
        self._tokens = frozenset(token for token in tokens if token)
        self._sorted = sorted(self._tokens)
        self._longest = max(map(len, self._tokens), default=1)
        self._quoted_ends = frozenset(
            token[index:]
            for token in self._tokens
            for index in range(1, len(token))
            if token[index] == _QUOTE
        )
        self._covers: dict[bytes, int] = {}

    def cover(self, literal: bytes) -> int:
        """The fewest tokens that a text beginning with a quotation mark takes part in.

        The first may begin before it and the last may end after it.
        """
        known = self._covers.get(literal)
        if known is None:
            known = self._covers[literal] = self._cover(literal)
        return known

    def _cover(self, literal: bytes) -> int:
        size = len(literal)
        if self._reaches_past(literal) or any(literal in end for end in self._quoted_ends):
            return 1
        unreached = size + 1
        fewest = [unreached] * (size + 1)
        fewest[0] = 0
        best = unreached
        for start in range(size):
            if fewest[start] == unreached:
                continue
            rest = literal[start:]
            if self._reaches_past(rest):
                best = min(best, fewest[start] + 1)
            for length in range(1, min(self._longest, size - start) + 1):
                piece = rest[:length]
                if piece in self._tokens or (start == 0 and piece in self._quoted_ends):
                    reached = start + length
                    fewest[reached] = min(fewest[reached], fewest[start] + 1)
        return min(best, fewest[size])

    def _reaches_past(self, text: bytes) -> bool:
        """Whether some token begins with `text`."""
        index = bisect_left(self._sorted, text)
        return index < len(self._sorted) and self._sorted[index].startswith(text)


def fewest_tokens(schema: dict[str, object] | bool, vocabulary: Vocabulary) -> int:
    """The lower bound for an engine schema, 1 and up."""
    if isinstance(schema, bool):
        return 1
    parts = _parts(schema)
    bounds: dict[int, int] = {}
    # Bounds only grow from round to round and are true in each; a few rounds see through
    # definitions that stand before those that they use. Without references, one sees all.
    for _ in range(_ROUNDS if any("$ref" in part for part in parts) else 1):
        grown = False
        for part in reversed(parts):
            bound = _bound(part, schema, bounds, vocabulary)
            if bound != bounds.get(id(part), 0):
                bounds[id(part)] = bound
                grown = True
        if not grown:
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
    """Tokens that a value of `schema` takes beyond one."""
    found = [0]
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and 0 < len(values) <= _MOST_VALUES:
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
            total += vocabulary.cover(literal + b":") - 1
        total += bounds.get(id(named.get(str(name))), 0)
    return total


def _array(schema: dict[str, object], bounds: dict[int, int]) -> int:
    least = schema.get("minItems", 0)
    if not isinstance(least, int):
        return 0
    prefix = _list(schema.get("prefixItems"))
    total = sum(bounds.get(id(part), 0) for part in prefix[:least])
    # Ids only mean something for schemas that are objects, and `items` may be true.
    return total + max(0, least - len(prefix)) * bounds.get(id(schema.get("items")), 0)


def _literal(value: object, vocabulary: Vocabulary) -> int:
    literal = _plain_literal(value)
    return 0 if literal is None else vocabulary.cover(literal) - 1


def _plain_literal(value: object) -> bytes | None:
    """A string as JSON, if the engine has one way only to write it."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return None
    return None if '"' in value or "\\" in value else b'"%b"' % value.encode()


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
