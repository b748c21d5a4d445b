"""Refuses what would take engines or validators too long, before either sees it.

Everything here is iterative and takes time in proportion to the schema.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from genir_server.schema.checks.patterns import largest_repetition
from genir_server.schema.errors import invalid, too_complex
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import REFERENCES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genir_server.schema.limits import SchemaLimits
    from genir_server.schema.read.document import Document, Node

_NO_MULTIPLE = (1, -1)
_MOST_PLACES = 20


class _Gauge:
    """Holds values against limits, and remembers the largest of each.

    Attributes:
        largest: the largest value seen, by the limit's name.

    """

    def __init__(self, limits: SchemaLimits) -> None:
        self.limits = limits
        self.largest: dict[str, int] = {}

    def hold(self, what: str, limit: str, value: int, where: str | None) -> None:
        """Refuses a value beyond a limit; the arguments are those of `too_complex`."""
        most = getattr(self.limits, limit)
        if value > most:
            raise too_complex(what, limit, most, value, where)
        if value > self.largest.get(limit, -1):
            self.largest[limit] = value


def lint(document: Document, limits: SchemaLimits) -> dict[str, int]:
    """Checks every subschema that the root reaches.

    Returns:
        The largest value found, by the name of the limit.

    Raises:
        SchemaRefusedError: SCHEMA_TOO_COMPLEX with pointer, limit and value; SCHEMA_INVALID for
            a reference that leads to itself without going into a part of the value.

    """
    gauge = _Gauge(limits)
    gauge.hold("The schema has too many subschemas", "nodes", len(document.nodes), None)
    for node in document.nodes.values():
        if node.keywords:
            _check_node(node, gauge)
    _check_reference_depth(document, gauge)
    _check_meeting(_in_place_order(document), gauge)
    return gauge.largest


def _check_node(node: Node, gauge: _Gauge) -> None:
    schema = node.keywords
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        demanded = set(required) if isinstance(required, list) else set()
        optional = sum(1 for key in properties if key not in demanded)
        _at_most(optional, "optional_properties", gauge, node, "properties")
        _check_keys(properties, gauge, child(node.pointer, "properties"))
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        _at_most(len(patterns), "pattern_properties", gauge, node, "patternProperties")
        for pattern in patterns:
            _check_pattern(pattern, gauge, child(node.pointer, "patternProperties", pattern))
    for keyword in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(keyword)
        if isinstance(alternatives, list):
            _at_most(len(alternatives), "alternatives", gauge, node, keyword)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        _check_pattern(pattern, gauge, child(node.pointer, "pattern"))
    values = schema.get("enum")
    if isinstance(values, list):
        _at_most(len(values), "enum_values", gauge, node, "enum")
        _check_literal(values, gauge, child(node.pointer, "enum"))
    least = schema.get("minItems")
    if isinstance(least, int | float):
        _at_most(int(least), "min_items", gauge, node, "minItems")
    if "const" in schema:
        _check_literal(schema["const"], gauge, child(node.pointer, "const"))
    required = schema.get("required")
    if isinstance(required, list):
        _at_most(len(required), "enum_values", gauge, node, "required")
        _check_keys(
            (key for key in required if isinstance(key, str)),
            gauge,
            child(node.pointer, "required"),
        )


def _at_most(value: int, limit: str, gauge: _Gauge, node: Node, keyword: str) -> None:
    gauge.hold(f"{keyword} is too large", limit, value, child(node.pointer, keyword))


def _check_keys(keys: Iterable[str], gauge: _Gauge, where: str) -> None:
    for key in keys:
        gauge.hold("The name of a property is too long", "key_bytes", len(key.encode()), where)


def _check_pattern(pattern: str, gauge: _Gauge, where: str) -> None:
    size = len(pattern.encode())
    gauge.hold("The regular expression is too long", "pattern_bytes", size, where)
    repetition = largest_repetition(pattern)
    gauge.hold("The regular expression repeats too much", "quantifier", repetition, where)


def _check_literal(value: object, gauge: _Gauge, where: str) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            gauge.hold("A constant string is too long", "string_bytes", len(item.encode()), where)
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            _check_keys(item, gauge, where)
            pending.extend(item.values())


def _check_reference_depth(document: Document, gauge: _Gauge) -> None:
    """Walks as a recursive compiler would: into each schema once, depth first."""
    seen: set[str] = set()
    pending = [("", 0)]
    while pending:
        pointer, depth = pending.pop()
        if pointer in seen:
            continue
        seen.add(pointer)
        gauge.hold("References lead too far one into the next", "reference_depth", depth, pointer)
        pending.extend(
            (edge.target, depth + (edge.keyword in REFERENCES))
            for edge in reversed(document.nodes[pointer].edges)
        )


def _in_place_order(document: Document) -> list[Node]:
    """All schemas, each after those that it applies to the same value.

    Raises:
        SchemaRefusedError: SCHEMA_INVALID, there is no such order.

    """
    order: list[Node] = []
    done: set[str] = set()
    active: set[str] = set()
    for start in document.nodes:
        pending = [start]
        while pending:
            pointer = pending[-1]
            if pointer in done:
                pending.pop()
                continue
            node = document.nodes[pointer]
            if pointer in active:
                active.discard(pointer)
                done.add(pointer)
                order.append(node)
                pending.pop()
                continue
            active.add(pointer)
            for edge in node.edges:
                if edge.in_place and edge.target not in done:
                    if edge.target in active:
                        raise invalid(
                            "The schema refers to itself for the same value, without going into a"
                            " property or an item, so that it never comes to an end",
                            edge.target,
                        )
                    pending.append(edge.target)
    return order


def _check_meeting(order: list[Node], gauge: _Gauge) -> None:
    """Checks what grows when schemas meet at one value: work and common multiples."""
    evaluations: dict[str, int] = {}
    multiples: dict[str, tuple[int, int]] = {}
    for node in order:
        total = 1
        coefficient, exponent = _multiple(node.keywords.get("multipleOf"))
        for edge in node.edges:
            if edge.in_place:
                total += evaluations[edge.target]
                coefficient, exponent = _common(
                    coefficient, exponent, *multiples[edge.target], most=gauge.limits.multiple_of
                )
        gauge.hold("Too many subschemas apply to one value", "evaluations", total, node.pointer)
        if (coefficient, exponent) != _NO_MULTIPLE:
            gauge.hold("multipleOf is too large", "multiple_of", coefficient, node.pointer)
        evaluations[node.pointer] = total
        multiples[node.pointer] = coefficient, exponent


def _multiple(value: object) -> tuple[int, int]:
    """A `multipleOf` as an integer and the number of decimal places it is shifted by."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return _NO_MULTIPLE
    decimal = Decimal(repr(value)).normalize()
    _, digits, power = decimal.as_tuple()
    coefficient = int("".join(map(str, digits)))
    if not isinstance(power, int) or power >= 0:
        return abs(int(value)), 0
    return coefficient, -power


def _common(first: int, places: int, second: int, other: int, *, most: int) -> tuple[int, int]:
    """The least common multiple of two shifted integers; no further than needed to see it big."""
    if (second, other) == _NO_MULTIPLE or first > most:
        return first, places
    if (first, places) == _NO_MULTIPLE:
        return second, other
    finest = max(places, other)
    if finest - min(places, other) > _MOST_PLACES:
        return 10**_MOST_PLACES, finest
    return (
        math.lcm(first * 10 ** (finest - places), second * 10 ** (finest - other)),
        finest,
    )
