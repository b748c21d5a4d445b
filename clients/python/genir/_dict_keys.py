"""Which keys a dict may have, as names and a pattern. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor
from typing import TYPE_CHECKING

from pydantic.errors import PydanticInvalidForJsonSchema

from genir import _patterns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.json_schema import JsonSchemaValue

_PLAIN = frozenset({"type", "title", "description", "examples", "default", "deprecated"})
_LOWS, _HIGHS = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_BOUNDS = frozenset({*_LOWS, *_HIGHS})
_BESIDE_PATTERN = frozenset({"allOf", "minLength", "maxLength"})
_MOST_INTEGER = 10**15 - 1
_MOST_WHOLE = 10**12 - 1
_PLACES = 6
_BOUNDED_PLACES = 3
"""So many digits after the point keep a number below the next integer, as a double."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a dict: those with a name and those that match a pattern.

    Attributes:
        names: whole keys.
        pattern: None for no further keys.

    """

    names: tuple[str, ...] = ()
    pattern: str | None = None


def keys_of(schema: JsonSchemaValue) -> Keys | None:
    """The keys that a JSON Schema of one kind of keys allows; None when it says nothing of them.

    Raises:
        PydanticInvalidForJsonSchema: no key can be right, or no pattern says which.

    """
    if "const" in schema or "enum" in schema:
        return Keys(_member_names(schema))
    if schema.get("type") == "null":
        return Keys()
    if schema.get("type") == "boolean":
        return Keys(("true", "false"))
    pattern = _pattern(schema)
    return None if pattern is None else Keys((), pattern)


def keys_of_union(choices: Sequence[JsonSchemaValue]) -> Keys | None:
    """The keys that any of several schemas allows; None when one allows every text.

    Raises:
        PydanticInvalidForJsonSchema: names and one pattern cannot say which keys are right.

    """
    if any(each.get("type") == "string" and each.keys() <= _PLAIN for each in choices):
        return None
    names: dict[str, None] = {}
    patterns: dict[str, None] = {}
    for each in choices:
        keys = keys_of(each)
        if keys is None or ("pattern" in each and each.keys() & _BESIDE_PATTERN):
            msg = f"a union of keys with {each}"
            raise PydanticInvalidForJsonSchema(msg)
        names |= dict.fromkeys(keys.names)
        if keys.pattern is not None:
            patterns[keys.pattern] = None
    if len(patterns) < 2:  # noqa: PLR2004 - nothing to unite
        return Keys(tuple(names), next(iter(patterns), None))
    return Keys(tuple(names), "|".join(f"(?:{each})" for each in patterns))


def _pattern(schema: JsonSchemaValue) -> str | None:
    match schema:
        case {"type": "integer"}:
            return _integer(schema)
        case {"type": "number"}:
            return _number(schema)
        case {"pattern": str(pattern)}:
            return pattern
        case {"format": "uuid"}:
            return _patterns.KEY_UUID
        case {"type": "string", "minLength": _} | {"type": "string", "maxLength": _}:
            low, high = schema.get("minLength", 0), schema.get("maxLength", "")
            return rf"^[\s\S]{{{low},{high}}}$"
    return None


def _member_names(schema: JsonSchemaValue) -> tuple[str, ...]:
    members = schema["enum"] if "enum" in schema else [schema["const"]]
    # pydantic reads the text of a number as a member of an Enum of numbers, but not of a Literal.
    # Only an Enum has a title.
    is_numeric = "title" in schema and schema.get("type") in ("integer", "number")
    names = []
    for member in members:
        if isinstance(member, str):
            names.append(member)
        elif isinstance(member, bool):
            names.append(str(member).lower())
        elif is_numeric:
            names.append(str(member))
    if not names:
        msg = f"a dict whose keys are the numbers {members}, which pydantic does not read as keys"
        raise PydanticInvalidForJsonSchema(msg)
    return tuple(names)


def _integer(schema: JsonSchemaValue) -> str:
    if schema.get("multipleOf", 1) != 1:
        msg = "a dict whose keys are multiples of a number"
        raise PydanticInvalidForJsonSchema(msg)
    if not schema.keys() & _BOUNDS:
        return _patterns.KEY_INTEGER
    low, high = _whole_bounds(schema)
    return _anchored(_signed(low, high, _MOST_INTEGER), schema)


def _number(schema: JsonSchemaValue) -> str:
    """A pattern of the integers within the bounds, and of what is between two of them."""
    places = _PLACES
    if "multipleOf" in schema:
        step = Decimal(str(schema["multipleOf"])).normalize().as_tuple()
        if step.digits != (1,) or int(step.exponent) > 0:
            msg = "a dict whose keys are multiples of a number"
            raise PydanticInvalidForJsonSchema(msg)
        places = min(places, -int(step.exponent))
    elif not schema.keys() & _BOUNDS:
        return _patterns.KEY_NUMBER
    parts = _signed(*_whole_bounds(schema), _MOST_WHOLE)
    places = min(places, _BOUNDED_PLACES)
    if places:
        low = max((ceil(schema[key]) for key in _LOWS if key in schema), default=None)
        high = min((floor(schema[key]) for key in _HIGHS if key in schema), default=None)
        # Not 0 alone after the point: that would be an integer, which a bound may exclude.
        after = rf"\.[0-9]{{0,{places - 1}}}[1-9]"
        first, last = _within(low, high, _MOST_WHOLE + 1)
        if first < last and last > 0:
            parts.append(_patterns.integers(max(first, 0), last - 1) + after)
        if first < last and first < 0:
            parts.append("-" + _patterns.integers(max(-last, 0), -first - 1) + after)
    return _anchored(parts, schema)


def _whole_bounds(schema: JsonSchemaValue) -> tuple[int | None, int | None]:
    """The lowest and the highest integer; None for no bound."""
    lows = [ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [floor(schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        highs.append(ceil(schema["exclusiveMaximum"]) - 1)
    return max(lows, default=None), min(highs, default=None)


def _within(low: int | None, high: int | None, most: int) -> tuple[int, int]:
    """The bounds, with `most` in both directions where there is none."""
    return (
        min(-most, high or 0) if low is None else low,
        max(most, low or 0) if high is None else high,
    )


def _signed(low: int | None, high: int | None, most: int) -> list[str]:
    """Patterns of the integers from `low` to `high`: those from 0 up, and those below."""
    first, last = _within(low, high, most)
    parts = []
    if max(first, 0) <= last:
        parts.append(_patterns.integers(max(first, 0), last))
    if first <= min(last, -1):
        parts.append("-" + _patterns.integers(max(-last, 1), -first))
    return parts


def _anchored(parts: list[str], schema: JsonSchemaValue) -> str:
    if not parts:
        bounds = {key: value for key, value in schema.items() if key in _BOUNDS}
        msg = f"a dict whose keys are numbers between two integers: {bounds}"
        raise PydanticInvalidForJsonSchema(msg)
    return f"^(?:{'|'.join(parts)})$"
