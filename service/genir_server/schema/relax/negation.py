"""The complement of a schema, in keywords that the engine enforces.

A complement that cannot be expressed is widened, so the result always accepts every value that the
negated schema refuses. It says whether it is exact. Complements look a fixed number of levels deep,
so that recursion and size are bounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from genir_server.domain.numbers import MAX_INTEGER, has_normal_form
from genir_server.schema.read.vocabulary import ANNOTATIONS, Draft, known
from genir_server.schema.relax.literals import all_strings_but

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Document, Node
    from genir_server.schema.relax.context import EngineSchema

_MAX_LEVELS = 6
_MAX_EXCLUDED_CHARACTERS = 1_000
_MAX_EXCLUDED_LENGTH = 80
_TYPES = ("null", "boolean", "number", "string", "array", "object")


@dataclass(frozen=True, slots=True)
class Negation:
    """A complement. When not `exact`, `schema` accepts more than the complement."""

    schema: EngineSchema
    exact: bool


_UNKNOWN = Negation(schema=True, exact=False)


def negate(document: Document, pointer: str, levels: int = _MAX_LEVELS) -> Negation:
    """The complement of the schema at `pointer`."""
    node = document.nodes[pointer]
    if isinstance(node.value, bool):
        return Negation(not node.value, exact=True)
    if levels == 0 or node.meta_references:
        return _UNKNOWN
    if document.draft <= Draft.DRAFT7 and "$ref" in node.value:
        return _reference(document, node, "$ref", levels)
    parts = [
        _keyword(document, node, keyword, levels)
        for keyword in node.value
        if keyword not in ANNOTATIONS and known(keyword, document.draft)
    ]
    return either([part for part in parts if part is not None])


def either(parts: list[Negation]) -> Negation:
    """The union of the parts."""
    schemas = [part.schema for part in parts if part.schema is not False]
    exact = all(part.exact for part in parts)
    if any(schema is True for schema in schemas):
        return Negation(schema=True, exact=exact)
    if not schemas:
        return Negation(schema=False, exact=exact)
    return Negation(schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, exact=exact)


def both(parts: list[Negation]) -> Negation:
    """The intersection of the parts."""
    schemas = [part.schema for part in parts if part.schema is not True]
    exact = all(part.exact for part in parts)
    if any(schema is False for schema in schemas):
        return Negation(schema=False, exact=exact)
    if not schemas:
        return Negation(schema=True, exact=exact)
    return Negation(schemas[0] if len(schemas) == 1 else {"allOf": schemas}, exact=exact)


def _keyword(document: Document, node: Node, keyword: str, levels: int) -> Negation | None:
    """The complement of one keyword; None if the keyword has no effect on validity."""
    value = node.keywords[keyword]
    if keyword in _SIMPLE:
        return _SIMPLE[keyword](node, value)
    if keyword in ("anyOf", "allOf"):
        parts = [
            negate(document, edge.target, levels - 1)
            for edge in node.edges
            if edge.keyword == keyword
        ]
        return both(parts) if keyword == "anyOf" else either(parts)
    if keyword == "properties":
        return _properties(document, node, levels)
    if keyword in ("$ref", "$recursiveRef") and not document.is_dynamic(node, keyword):
        return _reference(document, node, keyword, levels)
    return None if keyword not in _ASSERTIONS else _UNKNOWN


def _reference(document: Document, node: Node, keyword: str, levels: int) -> Negation:
    target = node.target(keyword)
    return _UNKNOWN if target is None else negate(document, target, levels - 1)


def _properties(document: Document, node: Node, levels: int) -> Negation:
    parts = []
    for edge in node.edges:
        if edge.keyword == "properties":
            inner = negate(document, edge.target, levels - 1)
            if inner.schema is not False:
                schema: EngineSchema = {
                    "type": "object",
                    "properties": {edge.key: inner.schema},
                    "required": [edge.key],
                }
                parts.append(Negation(schema, inner.exact))
    return either(parts)


def _type(_: Node, value: object) -> Negation:
    types = {value} if isinstance(value, str) else set(cast("list[str]", value))
    rest = [name for name in _TYPES if name not in types]
    # "Numbers that are no integers" cannot be expressed.
    exact = "integer" not in types or "number" in types
    return Negation({"type": rest} if rest else False, exact=exact)


def _required(_: Node, value: object) -> Negation:
    if not isinstance(value, list):
        return _UNKNOWN
    return either(
        [
            Negation({"type": "object", "properties": {key: False}}, exact=True)
            for key in dict.fromkeys(value)
        ]
    )


def _enum(_: Node, value: object) -> Negation:
    return excluding(cast("list[object]", value))


def _const(_: Node, value: object) -> Negation:
    return excluding([value])


def excluding(values: list[object]) -> Negation:
    """The complement of some constants."""
    if any(isinstance(value, dict | list) for value in values):
        return _UNKNOWN
    strings = [value for value in values if isinstance(value, str)]
    numbers = sorted(
        {
            value
            for value in values
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            # The engine cannot exclude larger numbers.
            and abs(value) <= MAX_INTEGER
        }
    )
    free = [
        name
        for name in _TYPES
        if not (
            (name == "string" and strings)
            or (name == "number" and numbers)
            or (name == "null" and None in values)
            or (name == "boolean" and any(isinstance(value, bool) for value in values))
        )
    ]
    options: list[EngineSchema] = [{"type": free}]
    exact = not any(
        isinstance(value, int | float) and abs(value) > MAX_INTEGER and has_normal_form(value)
        for value in values
    )
    if strings:
        total = sum(map(len, strings))
        if total > _MAX_EXCLUDED_CHARACTERS or max(map(len, strings)) > _MAX_EXCLUDED_LENGTH:
            options.append({"type": "string"})
            exact = False
        else:
            options.append({"type": "string", "pattern": all_strings_but(strings)})
    if numbers:
        edges: list[float | None] = [None, *numbers, None]
        for low, high in pairwise(edges):
            gap: dict[str, object] = {"type": "number"}
            if low is not None:
                gap["exclusiveMinimum"] = low
            if high is not None:
                gap["exclusiveMaximum"] = high
            options.append(gap)
    booleans = {value for value in values if isinstance(value, bool)}
    if len(booleans) == 1:
        options.append({"const": not booleans.pop()})
    return Negation({"anyOf": options} if len(options) > 1 else options[0], exact=exact)


def _bound(type_name: str, keyword: str, shift: int) -> Callable[[Node, object], Negation]:
    def complement(_: Node, value: object) -> Negation:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return _UNKNOWN
        shifted = int(value) + shift
        if shifted < 0:
            return Negation(schema=False, exact=True)
        return Negation({"type": type_name, keyword: shifted}, exact=True)

    return complement


def _limit(keyword: str, exclusive: str) -> Callable[[Node, object], Negation]:
    def complement(node: Node, value: object) -> Negation:
        if isinstance(value, bool):
            return _UNKNOWN
        if exclusive and isinstance(node.keywords.get(exclusive), bool):
            return _UNKNOWN
        return Negation({"type": "number", keyword: value}, exact=True)

    return complement


_SIMPLE: dict[str, Callable[[Node, object], Negation]] = {
    "type": _type,
    "required": _required,
    "enum": _enum,
    "const": _const,
    "minLength": _bound("string", "maxLength", -1),
    "maxLength": _bound("string", "minLength", 1),
    "minItems": _bound("array", "maxItems", -1),
    "maxItems": _bound("array", "minItems", 1),
    "minimum": _limit("exclusiveMaximum", "exclusiveMinimum"),
    "maximum": _limit("exclusiveMinimum", "exclusiveMaximum"),
    "exclusiveMinimum": _limit("maximum", ""),
    "exclusiveMaximum": _limit("minimum", ""),
}
_ASSERTIONS = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "$dynamicRef",
        "$recursiveRef",
        "format",
        "if",
        "then",
        "else",
        "items",
        "maxContains",
        "maxProperties",
        "minContains",
        "minProperties",
        "multipleOf",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)


def literal_key(value: object) -> str:
    """A string that is equal for equal JSON values."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)
