"""The keywords of each draft: which contain subschemas, and which drafts know them."""

from __future__ import annotations

from enum import IntEnum


class Draft(IntEnum):
    """The supported drafts of JSON Schema, oldest first."""

    DRAFT4 = 4
    DRAFT6 = 6
    DRAFT7 = 7
    DRAFT201909 = 2019
    DRAFT202012 = 2020

    @property
    def label(self) -> str:
        """The usual name: 4, 6, 7, 2019-09 or 2020-12."""
        return {2019: "2019-09", 2020: "2020-12"}.get(self.value, str(self.value))


MAPS_OF_SUBSCHEMAS = frozenset(
    {
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependentSchemas",
        "dependencies",
    }
)
LISTS_OF_SUBSCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
SINGLE_SUBSCHEMAS = frozenset(
    {
        "items",
        "additionalItems",
        "additionalProperties",
        "unevaluatedItems",
        "unevaluatedProperties",
        "propertyNames",
        "contains",
        "not",
        "if",
        "then",
        "else",
    }
)
DEFINITIONS = frozenset({"$defs", "definitions"})
IN_PLACE = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)
"""Keywords whose subschemas apply to the same value as the schema around them."""

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

LITERALS = frozenset({"const", "enum"})
"""Keywords whose values are what a value is compared with, never schemas."""

ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$vocabulary",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "deprecated",
        "readOnly",
        "writeOnly",
        "examples",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
    }
)

_SINCE = {
    "const": Draft.DRAFT6,
    "contains": Draft.DRAFT6,
    "propertyNames": Draft.DRAFT6,
    "if": Draft.DRAFT7,
    "then": Draft.DRAFT7,
    "else": Draft.DRAFT7,
    "dependentRequired": Draft.DRAFT201909,
    "dependentSchemas": Draft.DRAFT201909,
    "minContains": Draft.DRAFT201909,
    "maxContains": Draft.DRAFT201909,
    "unevaluatedItems": Draft.DRAFT201909,
    "unevaluatedProperties": Draft.DRAFT201909,
    "$recursiveRef": Draft.DRAFT201909,
    "$dynamicRef": Draft.DRAFT202012,
    "prefixItems": Draft.DRAFT202012,
}
_UNTIL = {
    "additionalItems": Draft.DRAFT201909,
    "$recursiveRef": Draft.DRAFT201909,
}


def known(keyword: str, draft: Draft) -> bool:
    """Whether the keyword has its usual meaning in a draft."""
    return _SINCE.get(keyword, Draft.DRAFT4) <= draft <= _UNTIL.get(keyword, Draft.DRAFT202012)


NUMBER_KEYWORDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
STRING_KEYWORDS = frozenset({"minLength", "maxLength", "pattern", "format"})
ARRAY_KEYWORDS = frozenset(
    {
        "items",
        "prefixItems",
        "additionalItems",
        "minItems",
        "maxItems",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "unevaluatedItems",
    }
)
OBJECT_KEYWORDS = frozenset(
    {
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
    }
)

ASSERTIONS = (
    NUMBER_KEYWORDS
    | STRING_KEYWORDS
    | ARRAY_KEYWORDS
    | OBJECT_KEYWORDS
    | {"type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"}
    | {*REFERENCES}
)
"""All keywords that matter for validity in some draft."""
