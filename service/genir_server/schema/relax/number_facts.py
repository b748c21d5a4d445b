"""What the parts of an engine schema that apply to one value say together about numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, TypeGuard

from genir_server.domain.numbers import FIRST_WITH_EXPONENT
from genir_server.schema.interval import Interval, exact, interval_of
from genir_server.schema.read.vocabulary import NUMBER_KEYWORDS, Draft
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


NUMBER_TYPES = ("number", "integer")
_EVERYTHING = Interval()
_SIMPLE = NUMBER_KEYWORDS | {"type", "enum", "const"}


@dataclass(frozen=True, slots=True)
class Numbers:
    """What some parts say together about a number.

    Attributes:
        interval: their bounds.
        only_integers: whether a type allows integers only.
        divisor: the number of which it is a multiple; None if there is none.
        divisor_at: the caller's pointer to a `multipleOf`; None if there is none.
        excluded: whether no number is allowed.
        listed: whether `enum` or `const` lists the values.

    """

    interval: Interval = _EVERYTHING
    only_integers: bool = False
    divisor: Fraction | None = None
    divisor_at: str | None = None
    excluded: bool = False
    listed: bool = False

    @property
    def says_something(self) -> bool:
        """Whether it excludes any number."""
        return (
            self.interval.is_bounded
            or self.only_integers
            or self.divisor is not None
            or self.listed
        )

    def beside(self, other: Numbers) -> Numbers:
        """What both say together."""
        return Numbers(
            self.interval.intersection(other.interval),
            self.only_integers or other.only_integers,
            _common_multiple(self.divisor, other.divisor),
            # The innermost one says where a common multiple comes from.
            other.divisor_at or self.divisor_at,
            self.excluded or other.excluded,
            self.listed or other.listed,
        )

    @property
    def tightest(self) -> Interval:
        """The bounds, as integers where only integers are allowed."""
        return self.interval.of_integers() if self.only_integers else self.interval

    def fits(self, value: float, draft: Draft) -> bool:
        """Whether a number satisfies it, apart from lists of values."""
        if self.excluded or not self.interval.contains(value):
            return False
        # In draft 4 a number with an exponent is no integer.
        too_large = draft is Draft.DRAFT4 and abs(value) >= FIRST_WITH_EXPONENT
        if self.only_integers and (too_large or exact(value).denominator != 1):
            return False
        return self.divisor is None or (exact(value) / self.divisor).denominator == 1


def facts_of(schema: Mapping[str, object]) -> Numbers:
    """What an object of an engine schema itself says about numbers."""
    types = types_of(schema)
    excluded = types is not None and not any(name in types for name in NUMBER_TYPES)
    values = listed_values(schema)
    if values is not None:
        excluded = excluded or not any(map(is_number, values))
        return Numbers(excluded=excluded, listed=True)
    own = schema if isinstance(schema, Part) else Part()
    divisor = own.divisor if own.divisor is not None else schema.get("multipleOf")
    return Numbers(
        own.interval or interval_of(schema, own.origin),
        types is not None and "integer" in types and "number" not in types,
        Fraction(exact(divisor)) if is_number(divisor) else None,
        own.divisor_at,
        excluded,
    )


def all_facts(facts: Iterable[Numbers], around: Numbers) -> Numbers:
    """What several objects say together, beside what is known from around them."""
    for one in facts:
        around = around.beside(one)
    return around


def types_of(schema: Mapping[str, object]) -> list[str] | None:
    """The types that an object names; None if it names none."""
    declared = schema.get("type")
    if isinstance(declared, list):
        return declared
    return [declared] if isinstance(declared, str) else None


def common_types(first: list[str] | None, second: list[str] | None) -> list[str] | None:
    """The types that both allow; None if neither names any."""
    if first is None or second is None:
        return first if second is None else second
    found = []
    for name in first:
        if name in second or (name == "integer" and "number" in second):
            found.append(name)
        elif name == "number" and "integer" in second:
            found.append("integer")
    return list(dict.fromkeys(found))


def listed_values(schema: Mapping[str, object]) -> list[object] | None:
    """The values that `const` or `enum` lists; None if neither is there."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def is_simple(schema: Mapping[str, object]) -> bool:
    """Whether an object has only types, keywords about numbers and lists of values."""
    return not schema.keys() - _SIMPLE


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _common_multiple(first: Fraction | None, second: Fraction | None) -> Fraction | None:
    if first is None or second is None:
        return second if first is None else first
    return Fraction(
        math.lcm(first.numerator, second.numerator), math.gcd(first.denominator, second.denominator)
    )
