"""Attacks that start after a schema is accepted: on the verifier and through the output.

Values are forced with constants, so that what the verifier gets does not depend on the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.hostile.cases import borne

if TYPE_CHECKING:
    from bench.hostile.cases import Case

_ANY = ("SCHEMA_TOO_COMPLEX", "SCHEMA_UNSUPPORTED", "SCHEMA_INVALID", "BUDGET_TOO_SMALL")
_VERIFIER = "the verifier"
_OUTPUT = "the length of what is written"
_LONG = "a" * 3_900
_MIXED = "ab" * 1_900


def _bait(string: str, *tests: dict[str, str]) -> dict[str, object]:
    """A string that the model writes unless it picks "way out", and the tests applied to it."""
    return {
        "type": "array",
        "minItems": 4,
        "maxItems": 4,
        "items": {"enum": [string, "way out"]},
        "allOf": [{"items": {"not": test}} for test in tests],
    }


def _levels(depth: int, keyword: str) -> dict[str, object]:
    """Schemas that double at each level of the value: each applies two to its part."""
    return {
        "$ref": "#/$defs/d0",
        "$defs": {
            **{
                f"d{level}": {
                    "type": ["array", "null"],
                    "maxItems": 1,
                    keyword: [
                        {"items": {"$ref": f"#/$defs/d{level + 1}"}},
                        {"items": {"$ref": f"#/$defs/d{level + 1}"}},
                    ],
                }
                for level in range(depth)
            },
            f"d{depth}": {"type": "null"},
        },
    }


def _tree_of_itself(minimum: int) -> dict[str, object]:
    return {
        "$ref": "#/$defs/t",
        "$defs": {
            "t": {
                "type": "array",
                "items": {"$ref": "#/$defs/t"},
                "minItems": minimum,
                "maxItems": minimum + 1,
            }
        },
    }


def _doubling() -> dict[str, object]:
    both = [{"properties": {"next": {"$ref": "#"}}}, {"properties": {"next": {"$ref": "#"}}}]
    return {
        "type": "object",
        "properties": {"next": {"type": ["object", "null"]}},
        "anyOf": both,
        "required": ["next"],
        "additionalProperties": False,
    }


WRITING: list[Case] = [
    borne(
        "look-ahead that goes back",
        _VERIFIER,
        _bait(_LONG, *({"pattern": f"(?=a)(.*)(.*)(.*)(.*)(.*)z{index}"} for index in range(60))),
        *_ANY,
        max_tokens=3000,
    ),
    borne(
        "back-references that go back",
        _VERIFIER,
        _bait(_LONG, *({"pattern": f"^(b?)(?:\\1a|a)+z{index}$"} for index in range(100))),
        *_ANY,
        max_tokens=3000,
    ),
    borne(
        "look-behind without an end",
        _VERIFIER,
        _bait(_LONG, *({"pattern": f"(?<=a.{{0,900}})z{index}"} for index in range(100))),
        *_ANY,
        max_tokens=3000,
    ),
    borne(
        "linear expressions with many states",
        _VERIFIER,
        _bait(
            _MIXED,
            *({"pattern": f"(a[ab]{{{900 + index}}}|b[ab]{{700}})c"} for index in range(100)),
        ),
        *_ANY,
        max_tokens=3000,
    ),
    borne(
        "expressions that fill memory",
        "the server's memory",
        {
            "type": "string",
            "enum": ["a", "b"],
            "allOf": [{"not": {"pattern": f"(.*a.{{300}}){{5}}{index}"}} for index in range(60)],
        },
        *_ANY,
    ),
    borne(
        "2,000 expressions",
        "the server's memory",
        {
            "type": "string",
            "enum": ["a", "b"],
            "allOf": [
                {"not": {"pattern": f"[0-9a-f]{{{index % 90 + 9}}}x{index}"}}
                for index in range(2_000)
            ],
        },
        *_ANY,
    ),
    borne(
        "19,000 schemas on each item",
        _VERIFIER,
        {
            "type": "array",
            "items": {
                "type": "integer",
                "minimum": 0,
                "maximum": 9,
                "allOf": [
                    {"anyOf": [{"not": {"const": -j}} for j in range(12)]} for _ in range(1_400)
                ],
            },
            "minItems": 300,
            "maxItems": 1_000,
        },
        *_ANY,
        max_tokens=2500,
    ),
    borne(
        "1,000 items, all different",
        _VERIFIER,
        {
            "type": "array",
            "items": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 9},
                "minItems": 2,
                "maxItems": 2,
            },
            "uniqueItems": True,
            "minItems": 300,
            "maxItems": 1_000,
        },
        *_ANY,
        max_tokens=3500,
    ),
    borne(
        "contains in contains",
        _VERIFIER,
        {
            "type": "array",
            "minItems": 20,
            "maxItems": 60,
            "items": {"type": "array", "items": {"enum": [0, 1]}, "minItems": 5, "maxItems": 20},
            "contains": {"contains": {"const": 2}},
        },
        *_ANY,
        max_tokens=2500,
    ),
    borne("24 levels that double, anyOf", _VERIFIER, _levels(24, "anyOf"), *_ANY),
    borne("24 levels that double, allOf", _VERIFIER, _levels(24, "allOf"), *_ANY),
    borne("24 levels that double, oneOf", _VERIFIER, _levels(24, "oneOf"), *_ANY),
    borne("a circle that doubles", _VERIFIER, _doubling(), *_ANY),
    borne(
        "a dynamic reference that doubles",
        _VERIFIER,
        {
            "$dynamicAnchor": "n",
            "type": ["array", "null"],
            "maxItems": 2,
            "allOf": [{"items": {"$dynamicRef": "#n"}}, {"items": {"$dynamicRef": "#n"}}],
        },
        *_ANY,
    ),
    borne(
        "a recursive reference that doubles",
        _VERIFIER,
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$recursiveAnchor": True,
            "type": ["array", "null"],
            "maxItems": 2,
            "anyOf": [{"items": {"$recursiveRef": "#"}}, {"items": {"$recursiveRef": "#"}}],
        },
        *_ANY,
    ),
    borne(
        "unevaluatedProperties that doubles",
        _VERIFIER,
        {
            "$defs": {
                "n": {
                    "type": ["object", "null"],
                    "properties": {"k": {"$ref": "#/$defs/n"}},
                    "anyOf": [
                        {"properties": {"k": {"$ref": "#/$defs/n"}}},
                        {"patternProperties": {"^k$": {"$ref": "#/$defs/n"}}},
                    ],
                    "unevaluatedProperties": False,
                }
            },
            "$ref": "#/$defs/n",
        },
        *_ANY,
    ),
    borne(
        "10,000 objects compared with each item",
        _VERIFIER,
        {
            "type": "array",
            "minItems": 100,
            "maxItems": 200,
            "items": {
                "type": "object",
                "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
                "required": ["a"],
                "additionalProperties": False,
                "not": {"enum": [{"a": index + 10, "b": index} for index in range(5_000)]},
            },
        },
        *_ANY,
        max_tokens=3000,
    ),
    borne(
        "violations without end",
        "the status",
        {
            "type": "array",
            "minItems": 200,
            "maxItems": 300,
            "items": {"enum": [0, 1]},
            "allOf": [{"items": {"not": {"enum": [0, 1]}}}],
        },
        *_ANY,
        max_tokens=2000,
    ),
    borne(
        "a violation with a name of a kilobyte",
        "the status",
        {
            "type": "object",
            "properties": {"\U0001f9e8" * 240: {"type": "integer", "minimum": 0, "maximum": 5}},
            "required": ["\U0001f9e8" * 240],
            "additionalProperties": False,
            "dependentSchemas": {"\U0001f9e8" * 240: {"contains": True, "minProperties": 2}},
        },
        *_ANY,
    ),
    borne("a tree that never ends", _OUTPUT, _tree_of_itself(1), *_ANY, max_tokens=1500),
    borne(
        "a tree that never ends, in objects",
        _OUTPUT,
        {
            "$ref": "#/$defs/t",
            "$defs": {
                "t": {
                    "type": "object",
                    "properties": {"k": {"$ref": "#/$defs/t"}},
                    "required": ["k"],
                }
            },
        },
        *_ANY,
        max_tokens=1500,
    ),
    borne(
        "an optional tree, ten wide",
        _OUTPUT,
        {
            "type": "object",
            "properties": {f"k{index}": {"$ref": "#"} for index in range(10)},
            "additionalProperties": False,
        },
        *_ANY,
        max_tokens=1500,
    ),
    borne(
        "digits without end",
        _OUTPUT,
        {"type": "integer", "minimum": 10**290, "maximum": 10**300},
        *_ANY,
        max_tokens=1500,
    ),
    borne("a fraction without end", _OUTPUT, {"type": "number"}, *_ANY, max_tokens=1500),
    borne(
        "a string without end",
        _OUTPUT,
        {"type": "string", "minLength": 20_000},
        *_ANY,
        max_tokens=1500,
    ),
    borne("anything", _OUTPUT, {}, *_ANY, max_tokens=1500),
    borne(
        "white space in a pattern",
        _OUTPUT,
        {"type": "string", "pattern": "^\\s{1500,2000}$"},
        *_ANY,
        max_tokens=1500,
    ),
    borne(
        "duplicate names through patterns",
        _OUTPUT,
        {
            "type": "object",
            "patternProperties": {"^[ab]$": {"type": "null"}},
            "additionalProperties": False,
            "minProperties": 6,
        },
        *_ANY,
        max_tokens=800,
    ),
    borne(
        "empty names without end",
        _OUTPUT,
        {
            "type": "object",
            "propertyNames": {"maxLength": 0},
            "additionalProperties": {"type": "null"},
            "minProperties": 3,
        },
        *_ANY,
        max_tokens=800,
    ),
    borne(
        "1,000 required constants",
        _OUTPUT,
        {
            "type": "array",
            "prefixItems": [{"const": "x" * 900}] * 400,
            "minItems": 400,
            "maxItems": 400,
        },
        *_ANY,
        max_tokens=1500,
    ),
]
