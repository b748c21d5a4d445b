"""Copies and changes objects of an engine schema whose bounds are brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.numbers import FIRST_WITH_EXPONENT
from genir_server.schema.read.vocabulary import NUMBER_KEYWORDS
from genir_server.schema.relax.number_facts import (
    NUMBER_TYPES,
    Numbers,
    common_types,
    is_number,
    is_simple,
    types_of,
)
from genir_server.schema.relax.numbers import OTHERS
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.schema.relax.context import EngineSchema


def inline(schema: dict[str, object]) -> list[dict[str, object]]:
    """An object and its parts in `allOf`, all of which apply to the same value."""
    found: list[dict[str, object]] = []
    pending: list[object] = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            found.append(item)
            pending.extend(items(item, "allOf"))
    return found


def merge(part: Part, together: Numbers) -> bool:
    """Takes the types of parts about numbers alone, which are dropped; False if no type is left."""
    types, kept = types_of(part), []
    for member in items(part, "allOf"):
        if isinstance(member, dict) and is_simple(member):
            types = common_types(types, types_of(member))
        else:
            kept.append(without_bounds(member, together))
    set_members(part, kept)
    if types is not None:
        part["type"] = types[0] if len(types) == 1 else types
    return types != []


def without_bounds(member: object, together: Numbers) -> object:
    """A part whose bounds are written elsewhere."""
    if not isinstance(member, dict):
        return member
    part = Part()
    part.become(member)
    for keyword in NUMBER_KEYWORDS:
        part.pop(keyword, None)
    part.divisor = None
    part.left_out = frozenset()
    # Where it has a type, narrowing must know what may be written.
    part.interval = together.tightest if _has_number_type(member) else None
    return part


def exclude_numbers(part: Part) -> bool:
    """Makes a part allow no number; False if it allows nothing else."""
    types = types_of(part)
    rest = OTHERS if types is None else [name for name in types if name not in NUMBER_TYPES]
    for keyword in NUMBER_KEYWORDS:
        part.pop(keyword, None)
    part.divisor = part.interval = None
    part["type"] = rest[0] if len(rest) == 1 else rest
    return bool(rest)


def _has_number_type(schema: dict[str, object]) -> bool:
    return any(name in NUMBER_TYPES for name in types_of(schema) or ())


def is_large(value: object) -> bool:
    """Whether a value is a number that is written with an exponent."""
    return is_number(value) and abs(value) >= FIRST_WITH_EXPONENT


def items(schema: dict[str, object], keyword: str) -> list[EngineSchema]:
    """The schemas in the list of a keyword; none if there is no list."""
    items = schema.get(keyword)
    return items if isinstance(items, list) else []


def set_members(part: Part, members: Sequence[object]) -> None:
    """Sets `allOf`, or drops it where nothing is left."""
    if members:
        part["allOf"] = members
    else:
        part.pop("allOf", None)
