"""What one evaluation of one subschema costs the validator.

The figures are processor times of jsonschema-rs on one slow core, rounded up several times.
`tests/unit/schema/test_validation_cost.py` measures the validator against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.schema.pattern.measure import states
from genir_server.schema.pattern.parse import parse
from genir_server.schema.verify.verifier import PYTHON_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVALUATION = 0.3e-6
_NAME = 0.1e-6
_LITERAL = 0.1e-6
_LITERAL_CHARACTER = 0.5e-9
_WHOLE_NUMBER = 0.5e-6
# jsonschema-rs compares fractions as numbers of arbitrary precision.
_FRACTION = 6e-6
_NUMBER_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Items of small arrays are compared in pairs, of up to 15 items, and each may be a fraction.
_UNIQUE = 45e-6
_UNIQUE_BYTE = 10e-9
_FORMAT = 1e-6
_FORMAT_BYTE = 40e-9
_PYTHON_FORMAT = 20e-6
_PYTHON_FORMAT_BYTE = 0.5e-6
_REGEX = 50e-6
_REGEX_BYTE = 10e-6
_PATTERN = 1.5e-6
_PATTERN_STATE_BYTE = 10e-9
_NEED_PATTERNS = ("additionalProperties", "unevaluatedProperties")
# Beyond these, arithmetic of arbitrary precision takes up to a hundred times as long.
_MAX_PLAIN = 1e21
_MIN_PLAIN = 1e-6


@dataclass(frozen=True, slots=True)
class Cost:
    """Upper bounds of processor time.

    Attributes:
        node: seconds for each key and value.
        byte: seconds for each byte of the value's JSON text.

    """

    node: float = 0.0
    byte: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.node + other.node, self.byte + other.byte)

    def __mul__(self, count: int) -> Cost:
        return Cost(self.node * count, self.byte * count)

    def or_more(self, other: Cost) -> Cost:
        """The larger of both, for nodes and bytes separately."""
        return Cost(max(self.node, other.node), max(self.byte, other.byte))


NOTHING = Cost()
UNBOUNDED = Cost(math.inf, math.inf)


def evaluation_cost(schema: dict[str, object]) -> Cost:
    """The cost of one evaluation of a schema's own keywords, without those of its subschemas."""
    cost = Cost(_EVALUATION)
    for keyword, value in schema.items():
        keyword_cost = _COSTS.get(keyword)
        if keyword_cost is not None:
            cost += keyword_cost(value)
    named = schema.get("patternProperties")
    if isinstance(named, dict):
        # Other keywords for objects need to know as well which properties the patterns name.
        uses = 1 + sum(other in schema for other in _NEED_PATTERNS)
        cost += sum(map(_pattern_cost, named), NOTHING) * uses
    return cost


def patterns_in(schema: dict[str, object]) -> Iterator[str]:
    """The regular expressions of a schema's own keywords."""
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        yield pattern
    named = schema.get("patternProperties")
    if isinstance(named, dict):
        yield from named


def _pattern_cost(pattern: object) -> Cost:
    if not isinstance(pattern, str):
        return NOTHING
    # A regular expression in linear time visits each of its states at most once for each byte.
    return Cost(_PATTERN, _PATTERN_STATE_BYTE * states(parse(pattern)))


def _literal_seconds(literal: object) -> float:
    seconds = 0.0
    for item in _scalars(literal):
        seconds += _LITERAL
        if isinstance(item, str):
            seconds += _LITERAL_CHARACTER * len(item)
        elif isinstance(item, float) and not _is_plain(item):
            return math.inf
        elif isinstance(item, float):
            seconds += _FRACTION
        elif isinstance(item, int) and not isinstance(item, bool):
            seconds += _WHOLE_NUMBER if abs(item) < _MAX_PLAIN else math.inf
    return seconds


def _is_plain(number: float) -> bool:
    return number == 0 or _MIN_PLAIN <= abs(number) < _MAX_PLAIN


def _scalars(literal: object) -> Iterator[object]:
    """Everything in a literal, arrays and objects themselves and keys included."""
    pending = [literal]
    while pending:
        item = pending.pop()
        yield item
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())


def _literal_cost(literal: object) -> Cost:
    return Cost(_literal_seconds(literal))


def _number_cost(bound: object) -> Cost:
    return Cost(max(_FRACTION, _literal_seconds(bound)))


def _unique_cost(wanted: object) -> Cost:
    return Cost(_UNIQUE, _UNIQUE_BYTE) if wanted else NOTHING


def _names_cost(names: object) -> Cost:
    return Cost(_NAME * len(names)) if isinstance(names, list) else NOTHING


def _dependencies_cost(dependencies: object) -> Cost:
    if not isinstance(dependencies, dict):
        return NOTHING
    names = sum(map(_names_cost, dependencies.values()), NOTHING)
    return names + Cost(_NAME * len(dependencies))


def _format_cost(name: object) -> Cost:
    if name == "regex":
        return Cost(_REGEX, _REGEX_BYTE)
    if name in PYTHON_FORMATS:
        return Cost(_PYTHON_FORMAT, _PYTHON_FORMAT_BYTE)
    return Cost(_FORMAT, _FORMAT_BYTE)


_COSTS: dict[str, Callable[[object], Cost]] = {
    "const": _literal_cost,
    "enum": _literal_cost,
    **dict.fromkeys(_NUMBER_KEYWORDS, _number_cost),
    "uniqueItems": _unique_cost,
    "required": _names_cost,
    "dependentRequired": _dependencies_cost,
    "dependencies": _dependencies_cost,
    "format": _format_cost,
    "contentEncoding": _format_cost,
    "contentMediaType": _format_cost,
    "pattern": _pattern_cost,
}
