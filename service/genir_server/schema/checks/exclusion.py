"""Finds out which types of value a `not` certainly excludes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from genir_server.schema.read.value_types import ALL_TYPES, TYPES
from genir_server.schema.read.vocabulary import ASSERTIONS, Draft, known

if TYPE_CHECKING:
    from genir_server.schema.read.document import Document, Node

_NOTHING: frozenset[str] = frozenset()
_MAX_LEVELS = 8
# Keywords that say the same wherever they stand: no keyword beside them changes their meaning.
_INDEPENDENT = frozenset(
    {
        *("type", "enum", "const", "minimum", "maximum", "multipleOf", "minLength", "maxLength"),
        *("pattern", "format", "minItems", "maxItems", "uniqueItems", "properties", "required"),
        *("patternProperties", "minProperties", "maxProperties", "propertyNames"),
        *("allOf", "anyOf", "oneOf", "not", "$ref"),
    }
)


def excluded_types(document: Document, node: Node) -> frozenset[str]:
    """The types of which `not` in a schema excludes every value that the schema allows."""
    target = node.target("not")
    if target is None:
        return _NOTHING
    inner = document.nodes[target]
    if _says_the_same(document, node, inner):
        return ALL_TYPES
    return _accepted_types(document, inner, _MAX_LEVELS)


def _accepted_types(document: Document, node: Node, levels: int) -> frozenset[str]:
    """The types of which a schema certainly accepts every value."""
    if isinstance(node.value, bool):
        return ALL_TYPES if node.value else _NOTHING
    if not levels or node.meta_references:
        return _NOTHING
    accepted = ALL_TYPES
    for keyword in _asserting(node.value, document.draft):
        targets = [edge.target for edge in node.edges if edge.keyword == keyword]
        inner = [_accepted_types(document, document.nodes[t], levels - 1) for t in targets]
        if keyword == "type":
            declared = node.value["type"]
            names = declared if isinstance(declared, list) else [declared]
            accepted &= frozenset().union(*(TYPES.get(str(name), _NOTHING) for name in names))
        elif keyword in ("$ref", "allOf") and inner:
            accepted &= frozenset.intersection(*inner)
        elif keyword == "anyOf" and inner:
            accepted &= frozenset().union(*inner)
        else:
            return _NOTHING
    return accepted


def _says_the_same(document: Document, node: Node, inner: Node) -> bool:
    """Whether a schema has every keyword of another one, so that its values satisfy that too."""
    if isinstance(inner.value, bool) or isinstance(node.value, bool) or inner.base != node.base:
        return False
    asserting = _asserting(inner.value, document.draft)
    if document.draft <= Draft.DRAFT7 and "$ref" in {*inner.value, *node.value}:
        return False
    if document.draft is Draft.DRAFT4 and {"minimum", "maximum"} & asserting:
        return False
    return asserting <= _INDEPENDENT & node.value.keys() and all(
        _key(inner.value[keyword]) == _key(node.value[keyword]) for keyword in asserting
    )


def _asserting(schema: dict[str, object], draft: Draft) -> set[str]:
    """The keywords of a schema that matter for validity."""
    if draft <= Draft.DRAFT7 and "$ref" in schema:
        return {"$ref"}
    return {keyword for keyword in schema if keyword in ASSERTIONS and known(keyword, draft)}


def _key(value: object) -> str:
    return json.dumps(value, sort_keys=True)
