"""Refuses schemas beyond the limits before an engine or a validator sees them.

Everything here is iterative and takes time proportional to the size of the schema.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from genir_server.schema.errors import invalid, refused_pattern, too_complex
from genir_server.schema.pattern.measure import max_repetition
from genir_server.schema.pattern.parse import parse
from genir_server.schema.pattern.syntax import PatternSyntaxError, PatternUnsupportedError
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import REFERENCES, known

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genir_server.schema.limits import SchemaLimits
    from genir_server.schema.read.document import Document, Node
    from genir_server.schema.read.vocabulary import Draft

_NO_MULTIPLE = (1, -1)
_MAX_DECIMAL_PLACES = 20


class _LimitChecker:
    """Checks values against the limits and records the largest of each.

    Attributes:
        largest: the largest value so far, by the name of the limit.

    """

    def __init__(self, limits: SchemaLimits) -> None:
        self.limits = limits
        self.largest: dict[str, int] = {}

    def check(self, what: str, limit: str, value: int, where: str | None) -> None:
        """Refuses a value beyond a limit; the arguments are those of `too_complex`."""
        max_value = getattr(self.limits, limit)
        if value > max_value:
            raise too_complex(what, limit, max_value, value, where)
        if value > self.largest.get(limit, -1):
            self.largest[limit] = value


def lint(document: Document, limits: SchemaLimits) -> dict[str, int]:
    """Checks every subschema that the root reaches.

    Returns:
        The largest value found, by the name of the limit.

    Raises:
        SchemaRefusedError: SCHEMA_TOO_COMPLEX with pointer, limit and value; SCHEMA_INVALID for
            a schema that applies itself to the same value, or a regular expression that is not
            ECMA-262.

    """
    checker = _LimitChecker(limits)
    checker.check("The schema has too many subschemas", "nodes", len(document.nodes), None)
    for node in document.nodes.values():
        if node.keywords:
            _check_node(node, checker)
            _check_dependencies(node, document.draft, checker)
    _check_reference_depth(document, checker)
    _check_combinations(_in_place_order(document), checker)
    return checker.largest


def _check_node(node: Node, checker: _LimitChecker) -> None:
    schema = node.keywords
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        required_names = set(required) if isinstance(required, list) else set()
        optional = sum(1 for key in properties if key not in required_names)
        _check_keyword(optional, "optional_properties", checker, node, "properties")
        _check_keys(properties, checker, child(node.pointer, "properties"))
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        _check_keyword(len(patterns), "pattern_properties", checker, node, "patternProperties")
        for pattern in patterns:
            _check_pattern(pattern, checker, child(node.pointer, "patternProperties", pattern))
    for keyword in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(keyword)
        if isinstance(alternatives, list):
            _check_keyword(len(alternatives), "alternatives", checker, node, keyword)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        _check_pattern(pattern, checker, child(node.pointer, "pattern"))
    values = schema.get("enum")
    if isinstance(values, list):
        _check_keyword(len(values), "enum_values", checker, node, "enum")
        _check_literal(values, checker, child(node.pointer, "enum"))
    min_items = schema.get("minItems")
    if isinstance(min_items, int | float):
        _check_keyword(int(min_items), "min_items", checker, node, "minItems")
    if "const" in schema:
        _check_literal(schema["const"], checker, child(node.pointer, "const"))
    required = schema.get("required")
    if isinstance(required, list):
        _check_keyword(len(required), "enum_values", checker, node, "required")
        _check_keys(
            (key for key in required if isinstance(key, str)),
            checker,
            child(node.pointer, "required"),
        )


def _check_dependencies(node: Node, draft: Draft, checker: _LimitChecker) -> None:
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        dependencies = node.keywords.get(keyword)
        if not isinstance(dependencies, dict) or not known(keyword, draft):
            continue
        where = child(node.pointer, keyword)
        _check_keys(dependencies, checker, where)
        for names in dependencies.values():
            if isinstance(names, list):
                checker.check(f"{keyword} is too large", "enum_values", len(names), where)
                _check_keys((name for name in names if isinstance(name, str)), checker, where)


def _check_keyword(
    value: int, limit: str, checker: _LimitChecker, node: Node, keyword: str
) -> None:
    checker.check(f"{keyword} is too large", limit, value, child(node.pointer, keyword))


def _check_keys(keys: Iterable[str], checker: _LimitChecker, where: str) -> None:
    for key in keys:
        checker.check("The name of a property is too long", "key_bytes", len(key.encode()), where)


def _check_pattern(pattern: str, checker: _LimitChecker, where: str) -> None:
    size = len(pattern.encode())
    checker.check("The regular expression is too long", "pattern_bytes", size, where)
    try:
        repetition = max_repetition(parse(pattern))
    except (PatternSyntaxError, PatternUnsupportedError) as fault:
        raise refused_pattern(fault, where) from None
    checker.check(
        "The regular expression has too large a repetition", "quantifier", repetition, where
    )


def _check_literal(value: object, checker: _LimitChecker, where: str) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            checker.check(
                "A constant string is too long", "string_bytes", len(item.encode()), where
            )
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            _check_keys(item, checker, where)
            pending.extend(item.values())


def _check_reference_depth(document: Document, checker: _LimitChecker) -> None:
    """Walks like a recursive compiler: depth first, into each schema once."""
    seen: set[str] = set()
    pending = [("", 0)]
    while pending:
        pointer, depth = pending.pop()
        if pointer in seen:
            continue
        seen.add(pointer)
        checker.check("The chain of references is too long", "reference_depth", depth, pointer)
        pending.extend(
            (edge.target, depth + (edge.keyword in REFERENCES))
            for edge in reversed(document.nodes[pointer].edges)
        )


def _in_place_order(document: Document) -> list[Node]:
    """All schemas, each one after those that it applies to the same value.

    Raises:
        SchemaRefusedError: SCHEMA_INVALID; a schema applies itself to the same value.

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
                            "The schema refers to itself for the same value, not for a property or"
                            " an item, so validation would never end",
                            edge.target,
                        )
                    pending.append(edge.target)
    return order


def _check_combinations(order: list[Node], checker: _LimitChecker) -> None:
    """Checks what grows when several schemas apply to one value: evaluations and multiples."""
    evaluations: dict[str, int] = {}
    multiples: dict[str, tuple[int, int]] = {}
    for node in order:
        total = 1
        coefficient, exponent = _multiple(node.keywords.get("multipleOf"))
        for edge in node.edges:
            if edge.in_place:
                total += evaluations[edge.target]
                coefficient, exponent = _common(
                    coefficient,
                    exponent,
                    *multiples[edge.target],
                    max_multiple=checker.limits.multiple_of,
                )
        checker.check("Too many subschemas apply to one value", "evaluations", total, node.pointer)
        if (coefficient, exponent) != _NO_MULTIPLE:
            checker.check("multipleOf is too large", "multiple_of", coefficient, node.pointer)
        evaluations[node.pointer] = total
        multiples[node.pointer] = coefficient, exponent


def _multiple(value: object) -> tuple[int, int]:
    """A `multipleOf` as an integer and the number of decimal places that it is shifted by."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return _NO_MULTIPLE
    decimal = Decimal(repr(value)).normalize()
    _, digits, power = decimal.as_tuple()
    coefficient = int("".join(map(str, digits)))
    if not isinstance(power, int) or power >= 0:
        return abs(int(value)), 0
    return coefficient, -power


def _common(
    first: int, places: int, second: int, other: int, *, max_multiple: int
) -> tuple[int, int]:
    """The least common multiple of two shifted integers; stops above `max_multiple`."""
    if (second, other) == _NO_MULTIPLE or first > max_multiple:
        return first, places
    if (first, places) == _NO_MULTIPLE:
        return second, other
    finest = max(places, other)
    if finest - min(places, other) > _MAX_DECIMAL_PLACES:
        return 10**_MAX_DECIMAL_PLACES, finest
    return (
        math.lcm(first * 10 ** (finest - places), second * 10 ** (finest - other)),
        finest,
    )
