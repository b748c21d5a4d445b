"""The ways to write a small value of one alternative: as a scalar, an object or an array."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genir_server.schema.closing.literals import listed_values
from genir_server.schema.read.vocabulary import NUMBER_KEYWORDS, STRING_KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from genir_server.schema.closing.alternative import Alternative, Conjuncts, Schema
    from genir_server.schema.closing.alternatives import EngineSchema

SHORT_STRING = 24
"""Characters that a string may have, unless it has to have more."""

SCALARS = frozenset({"null", "boolean", "integer", "fraction", "string"})
"""Types of values without parts, as `Alternative` has them."""

_SCALAR_KEYWORDS = NUMBER_KEYWORDS | STRING_KEYWORDS
_MAX_ROTATIONS = 16
_SCALAR_BYTES = {"null": 4, "boolean": 4, "integer": 1, "fraction": 1}
_PATTERN_BYTES = 12
_FREE_KEY_BYTES = 6
# Digits that an unbounded number may have.
_LARGEST_NUMBER = 999_999
_LARGER = frozenset({"minLength", "minimum", "exclusiveMinimum"})
_SMALLER = frozenset({"maxLength", "maximum", "exclusiveMaximum"})


@dataclass(slots=True)
class Way:
    """One way to write a value.

    Attributes:
        schema: the schema without what is said of members and items.
        own_bytes: what it takes without them, about.
        members: schemas of the members, by name.
        items: schemas of the first items.
        rest: schemas of further items, or of members whose names are free; None if there are none.
        count: how many of the rest are written.
        pattern: the regular expression for free names; None for any names.

    """

    schema: Schema
    own_bytes: int
    members: dict[str, Conjuncts] = field(default_factory=dict)
    items: list[Conjuncts] = field(default_factory=list)
    rest: Conjuncts | None = None
    count: int = 0
    pattern: str | None = None


def ways(engine: EngineSchema, alternative: Alternative) -> Iterator[Way]:
    """The ways to write a small value.

    Args:
        engine: the schema that the alternative is of.
        alternative: what the value has to satisfy.

    """
    if alternative.has_literal:
        values = listed_values(engine, alternative)
        if values:
            yield Way({"enum": values}, min(len(_compact(value)) for value in values))
        return
    if alternative.types & SCALARS:
        yield scalar(alternative)
    if "array" in alternative.types:
        yield from _arrays(alternative)
    if "object" in alternative.types:
        yield from _objects(engine, alternative)


def scalar(alternative: Alternative, longest: int = SHORT_STRING) -> Way:
    """A scalar value.

    Args:
        alternative: what it has to satisfy; it allows a scalar type and lists no values.
        longest: characters that a string may have, unless it has to have more.

    """
    types = alternative.types & SCALARS
    names = sorted(types - {"fraction", "integer"})
    if "integer" in types:
        names.append("number" if "fraction" in types else "integer")
    schema: Schema = {"type": names if len(names) != 1 else names[0]}
    schema.update(merged(alternative))
    sizes = [size for name, size in _SCALAR_BYTES.items() if name in types]
    if "string" in types:
        low = alternative.largest("minLength")
        if is_plain_string(alternative):
            schema["maxLength"] = max(low, min(longest, _int(schema.get("maxLength"), longest)))
        sizes.append(2 + low + (0 if is_plain_string(alternative) else _PATTERN_BYTES))
    if "integer" in types and not NUMBER_KEYWORDS & _keywords(alternative):
        schema |= {"minimum": -_LARGEST_NUMBER, "maximum": _LARGEST_NUMBER}
    return Way(schema, min(sizes))


def is_plain_string(alternative: Alternative) -> bool:
    """Whether only lengths are said about strings."""
    return not _keywords(alternative) & {"pattern", "format"} and not alternative.has_literal


def merged(alternative: Alternative) -> Schema:
    """What all parts say about scalar values, in one schema where that is possible."""
    together: Schema = {}
    beside: list[object] = []
    for part in alternative.parts:
        rest: Schema = {}
        for keyword in _SCALAR_KEYWORDS & part.keys():
            old, new = together.get(keyword, part[keyword]), part[keyword]
            if keyword in _LARGER and isinstance(old, int | float) and isinstance(new, int | float):
                together[keyword] = max(old, new)
            elif (
                keyword in _SMALLER
                and isinstance(old, int | float)
                and isinstance(new, int | float)
            ):
                together[keyword] = min(old, new)
            elif old == new:
                together[keyword] = new
            else:
                rest[keyword] = new
        if rest:
            beside.append(rest)
    if beside:
        together["allOf"] = beside
    return together


def _arrays(alternative: Alternative) -> Iterator[Way]:
    count = alternative.largest("minItems")
    most = alternative.smallest("maxItems")
    way = Way({"type": "array"}, 2 + count)
    if (most is not None and count > most) or not add_items(way, alternative, 0, count):
        return
    yield way


def add_items(way: Way, alternative: Alternative, start: int, end: int) -> bool:
    """Adds items from one index up to another; False if there can be no such items."""
    prefix = alternative.prefix_length
    for index in range(start, min(end, prefix)):
        item = alternative.items(index)
        if item is None:
            return False
        way.items.append(item)
    way.count = max(0, end - max(start, prefix))
    if way.count:
        way.rest = alternative.items(prefix)
        return way.rest is not None
    return True


def _objects(engine: EngineSchema, alternative: Alternative) -> Iterator[Way]:
    required = alternative.required()
    if not is_within(alternative.smallest("maxProperties"), len(required)):
        return
    for names in name_lists(engine, alternative, required):
        way = Way({"type": "object"}, 2)
        if add_members(engine, way, alternative, names):
            yield way
    missing = alternative.largest("minProperties")
    if missing and not alternative.named() and not required:
        free = engine.free_members(alternative)
        if free is not None:
            pattern, rest = free
            bytes_each = _FREE_KEY_BYTES + 1
            yield Way(
                {"type": "object"},
                2 + missing * bytes_each,
                rest=rest,
                count=missing,
                pattern=pattern,
            )


def name_lists(
    engine: EngineSchema,
    alternative: Alternative,
    required: list[str],
    *,
    written: tuple[str, ...] = (),
    skipped: AbstractSet[str] = frozenset(),
) -> Iterator[list[str]]:
    """The lists of names with which an object has enough members; required ones are in each.

    Args:
        engine: the schema.
        alternative: what the object has to satisfy.
        required: names that are still to be written.
        written: names that are written.
        skipped: names that can no longer be written.

    """
    missing = alternative.largest("minProperties") - len(required) - len(written)
    if missing <= 0:
        yield required
        return
    named = alternative.named()
    unusable = {*required, *written, *skipped}
    optional = [
        name
        for name in named
        if name not in unusable and engine.member(alternative, name) is not None
    ]
    for start in range(min(_MAX_ROTATIONS, len(optional) - missing + 1)):
        chosen = {*required, *optional[start : start + missing]}
        ordered = [name for name in named if name in chosen]
        yield [*ordered, *(name for name in required if name not in named)]


def add_members(engine: EngineSchema, way: Way, alternative: Alternative, names: list[str]) -> bool:
    """Adds members of the given names; False if there can be no such members."""
    for name in names:
        member = engine.member(alternative, name)
        if member is None:
            return False
        way.members[name] = member
        way.own_bytes += len(_compact(name)) + 2
    return True


def is_within(most: int | None, count: int) -> bool:
    """Whether a count does not exceed a maximum, if there is one."""
    return most is None or count <= most


def _keywords(alternative: Alternative) -> set[str]:
    return {keyword for part in alternative.parts for keyword in part}


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _int(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
