"""Reduces `enum` and `const` to the values that satisfy the parts beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.value_types import type_of
from genir_server.schema.relax.negation import literal_key
from genir_server.schema.relax.number_facts import (
    Numbers,
    common_types,
    facts_of,
    is_number,
    is_simple,
    listed_values,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.schema.read.vocabulary import Draft

Schema = dict[str, object]


def fitting_values(schemas: Sequence[Schema], together: Numbers, draft: Draft) -> list[object]:
    """The values that all lists in `schemas` have and that satisfy their types.

    Args:
        schemas: objects with only types, keywords about numbers and lists, and at least one list.
            All of them apply to the value.
        together: what all parts say about a number.
        draft: the caller's draft.

    """
    types: list[str] | None = None
    for schema in schemas:
        types = common_types(types, types_of(schema))
    first, *others = [values for s in schemas if (values := listed_values(s)) is not None]
    keys = [set(map(literal_key, values)) for values in others]
    return [
        value
        for value in first
        if _has_type(value, types)
        and (not is_number(value) or together.fits(value, draft))
        and all(literal_key(value) in listed for listed in keys)
    ]


def without_alternatives(
    values: list[object], options: Sequence[object], draft: Draft
) -> list[object] | None:
    """The values that satisfy at least one alternative; None if that cannot be told."""
    simple = [option for option in options if isinstance(option, dict) and is_simple(option)]
    if len(simple) < len(options):
        return None
    kept: dict[str, object] = {}
    for option in simple:
        fitting = fitting_values([{"enum": values}, option], facts_of(option), draft)
        kept.update((literal_key(value), value) for value in fitting)
    return [value for value in values if literal_key(value) in kept]


def _has_type(value: object, types: list[str] | None) -> bool:
    name = type_of(value)
    if types is None or name in types:
        return True
    # Whether it is an integer is decided with the other facts about numbers.
    return is_number(value) and not {"number", "integer"}.isdisjoint(types)
