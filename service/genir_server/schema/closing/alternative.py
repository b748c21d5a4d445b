"""One choice among what an engine schema says about one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, object]
Conjuncts = tuple[Schema, ...]
"""Schemas that all apply to one value."""

ALL_TYPES = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
"""All types of values: "number" is both "integer" and "fraction"."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One alternative of what may stand in one place.

    Attributes:
        parts: schemas that all apply.
        types: what they allow; "number" is both "integer" and "fraction".

    """

    parts: Conjuncts
    types: frozenset[str]

    @property
    def has_literal(self) -> bool:
        """Whether it lists whole values."""
        return any("const" in part or "enum" in part for part in self.parts)

    def largest(self, keyword: str) -> int:
        """The largest value of a keyword such as `minItems`; 0 if there is none."""
        return max((value for value in self._counts(keyword)), default=0)

    def smallest(self, keyword: str) -> int | None:
        """The smallest value of a keyword such as `maxItems`; None if there is none."""
        return min((value for value in self._counts(keyword)), default=None)

    def _counts(self, keyword: str) -> Iterator[int]:
        for part in self.parts:
            value = part.get(keyword)
            if isinstance(value, int):
                yield value

    def required(self) -> list[str]:
        """Names of required members, in the order in which the engine writes them."""
        required = dict.fromkeys(
            name for part in self.parts for name in as_list(part.get("required"))
        )
        ordered = [name for name in self.named() if name in required]
        return list(dict.fromkeys([*ordered, *map(str, required)]))

    def named(self) -> list[str]:
        """Names that `properties` lists."""
        return list(
            dict.fromkeys(name for part in self.parts for name in as_dict(part.get("properties")))
        )

    def items(self, index: int) -> Conjuncts | None:
        """The schemas for an item; None if there can be no such item."""
        found: list[object] = []
        for part in self.parts:
            prefix = as_list(part.get("prefixItems"))
            found.append(prefix[index] if index < len(prefix) else part.get("items", True))
        return combined(found)

    @property
    def prefix_length(self) -> int:
        """How many items have schemas of their own."""
        return max((len(as_list(part.get("prefixItems"))) for part in self.parts), default=0)


def combined(schemas: list[object]) -> Conjuncts | None:
    """Schemas that all apply, without those that say nothing; None if nothing satisfies them."""
    if any(schema is False for schema in schemas):
        return None
    return tuple({id(one): one for one in schemas if isinstance(one, dict) and one}.values())


def types_of(schema: Schema) -> frozenset[str]:
    """The types that a schema allows."""
    declared = schema.get("type")
    if declared is None:
        return ALL_TYPES
    names = declared if isinstance(declared, list) else [declared]
    types = frozenset(map(str, names)) & ALL_TYPES
    return types | {"integer", "fraction"} if "number" in names else types


def as_list(value: object) -> list[object]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_dict(value: object) -> Schema:
    """A dict; an empty one for anything else."""
    return value if isinstance(value, dict) else {}
