"""Attacks on schema compilation: each part stays below every limit, the combination explodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.hostile.cases import borne

if TYPE_CHECKING:
    from bench.hostile.cases import Case

_ANY = ("SCHEMA_TOO_COMPLEX", "SCHEMA_UNSUPPORTED", "SCHEMA_INVALID")
_COMPILER = "the compiler"
_RELAXER = "the relaxation"
_MASK = "the masks"


def _overlapping_patterns(count: int) -> dict[str, object]:
    return {f"^{'[a-m]' * (index % 9)}.*{index}": {"type": "integer"} for index in range(count)}


def _dependencies(count: int) -> dict[str, object]:
    return {
        f"p{index}": {"properties": {f"q{index}": {"type": "string"}}, "required": [f"q{index}"]}
        for index in range(count)
    }


def _tree(depth: int, fan: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer"}
    for level in range(depth):
        schema = {
            "type": "object",
            "properties": {f"{level}_{index}": schema for index in range(fan)},
            "required": [f"{level}_0"],
        }
    return schema


def _nested(keyword: str, depth: int, fan: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string", "maxLength": 9}
    for level in range(depth):
        schema = {
            keyword: [
                schema,
                *({"type": "object", "required": [f"k{level}_{index}"]} for index in range(fan)),
            ]
        }
    return schema


def _conditions(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"required": ["end"]}
    for level in range(depth):
        schema = {
            "if": {"properties": {f"c{level}": {"const": level}}, "required": [f"c{level}"]},
            "then": schema,
            "else": {"not": schema},
        }
    return {"type": "object", **schema}


COMPILING: list[Case] = [
    borne(
        "450 optional properties beside 64 patterns with long repetitions",
        _COMPILER,
        {
            "type": "object",
            "properties": {
                f"p{index}": {"type": "string", "pattern": f"^[a-z]{{{index}}}$"}
                for index in range(450)
            },
            "patternProperties": {
                f"^x{index}[ab]{{{1900 + index}}}$": {"type": "integer"} for index in range(64)
            },
        },
        *_ANY,
    ),
    borne(
        "64 patterns that overlap",
        _COMPILER,
        {"type": "object", "patternProperties": _overlapping_patterns(64)},
        *_ANY,
    ),
    borne(
        "20 objects of 64 patterns that overlap",
        _COMPILER,
        {
            "type": "object",
            "properties": {
                f"o{index}": {"type": "object", "patternProperties": _overlapping_patterns(64)}
                for index in range(20)
            },
        },
        *_ANY,
    ),
    borne(
        "a pattern that wants 2,000 states",
        _MASK,
        {"type": "string", "pattern": "^a{2000}$"},
        *_ANY,
    ),
    borne(
        "a determinised blow-up",
        _MASK,
        {"type": "string", "pattern": "^[ab]*a[ab]{1900}$", "maxLength": 4000},
        *_ANY,
    ),
    borne(
        "a determinised blow-up, small",
        _MASK,
        {"type": "string", "pattern": "^[ab]*a[ab]{24}$", "maxLength": 400},
        *_ANY,
    ),
    borne(
        "20 patterns that meet",
        _MASK,
        {
            "type": "string",
            "maxLength": 900,
            "allOf": [
                {"pattern": f"^.*{chr(97 + index)}.{{{20 + index}}}$"} for index in range(20)
            ],
        },
        *_ANY,
    ),
    borne(
        "nested stars", _MASK, {"type": "string", "pattern": "^(a|aa)+$", "maxLength": 300}, *_ANY
    ),
    borne(
        "nested overlapping stars",
        _MASK,
        {"type": "string", "pattern": "^(x+x+)+y$", "maxLength": 300},
        *_ANY,
    ),
    borne(
        "classes of all letters, repeated",
        _MASK,
        {"type": "string", "pattern": "^(\\p{L}{1,40}\\p{N}?){1,40}$"},
        *_ANY,
    ),
    borne(
        "an expression of 8 KB of alternatives",
        _MASK,
        {
            "type": "string",
            "pattern": "^(" + "|".join(f"{index:03x}.*" for index in range(1_200)) + ")$",
        },
        *_ANY,
    ),
    borne(
        "10,000 long values",
        _MASK,
        {"enum": [f"{index:05}" + "x" * 90 for index in range(10_000)]},
        *_ANY,
    ),
    borne(
        "10,000 values with one beginning",
        _MASK,
        {"enum": ["x" * 60 + f"{index:05}" for index in range(10_000)]},
        *_ANY,
    ),
    borne(
        "10,000 objects as values",
        _COMPILER,
        {"enum": [{"a": index, "b": [index, {"c": str(index)}]} for index in range(10_000)]},
        *_ANY,
    ),
    borne(
        "2,000 alternatives that are objects",
        _COMPILER,
        {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {f"k{index}": {"type": "integer"}},
                    "required": [f"k{index}"],
                }
                for index in range(2_000)
            ]
        },
        *_ANY,
    ),
    borne(
        "oneOf of 2,000 overlapping objects",
        _RELAXER,
        {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {f"k{index}": {"type": "integer"}},
                    "required": ["k0"],
                }
                for index in range(2_000)
            ]
        },
        *_ANY,
    ),
    borne(
        "allOf of 2,000",
        _RELAXER,
        {
            "type": "object",
            "allOf": [
                {"properties": {f"k{index % 400}": {"type": "integer", "minimum": index}}}
                for index in range(2_000)
            ],
        },
        *_ANY,
    ),
    borne(
        "allOf of 200 anyOf of 20",
        _RELAXER,
        {
            "allOf": [
                {
                    "anyOf": [
                        {"properties": {f"k{i}": {"const": j}}, "required": [f"k{i}"]}
                        for j in range(20)
                    ]
                }
                for i in range(200)
            ]
        },
        *_ANY,
    ),
    borne("30 levels of anyOf in anyOf", _RELAXER, _nested("anyOf", 30, 20), *_ANY),
    borne("30 levels of oneOf in oneOf", _RELAXER, _nested("oneOf", 30, 20), *_ANY),
    borne("12 levels of conditions that double", _RELAXER, _conditions(12), *_ANY),
    borne("90 levels of not", _RELAXER, '{"not":' * 90 + '{"type":"string"}' + "}" * 90, *_ANY),
    borne(
        "300 dependent schemas",
        _RELAXER,
        {"type": "object", "dependentSchemas": _dependencies(300)},
        *_ANY,
    ),
    borne(
        "300 conditions that meet",
        _RELAXER,
        {
            "type": "object",
            "allOf": [
                {
                    "if": {"properties": {"k": {"const": index}}, "required": ["k"]},
                    "then": {
                        "properties": {f"v{index}": {"type": "string"}},
                        "required": [f"v{index}"],
                    },
                }
                for index in range(300)
            ],
        },
        *_ANY,
    ),
    borne(
        "unevaluatedProperties over 200 alternatives",
        _RELAXER,
        {
            "type": "object",
            "anyOf": [{"properties": {f"k{index}": True}} for index in range(200)],
            "unevaluatedProperties": False,
        },
        *_ANY,
    ),
    borne(
        "unevaluatedItems over 200 alternatives",
        _RELAXER,
        {
            "type": "array",
            "anyOf": [{"prefixItems": [{"const": index}]} for index in range(200)],
            "unevaluatedItems": False,
            "maxItems": 5,
        },
        *_ANY,
    ),
    borne(
        "uniqueItems over 10,000 values",
        _RELAXER,
        {
            "type": "array",
            "items": {"enum": list(range(10_000))},
            "uniqueItems": True,
            "maxItems": 30,
        },
        *_ANY,
    ),
    borne(
        "propertyNames of 9,000 names",
        _RELAXER,
        {
            "type": "object",
            "propertyNames": {"enum": [f"n{index}" for index in range(9_000)]},
            "maxProperties": 5,
        },
        *_ANY,
    ),
    borne("a tree of 22,000 properties", _COMPILER, _tree(3, 28), *_ANY),
    borne(
        "449 optional properties",
        _COMPILER,
        {
            "type": "object",
            "properties": {f"p{index}": {"type": "boolean"} for index in range(449)},
            "additionalProperties": False,
        },
        *_ANY,
    ),
    borne(
        "20 objects of 449 optional properties",
        _COMPILER,
        {
            "type": "object",
            "properties": {
                f"o{i}": {
                    "type": "object",
                    "properties": {f"p{j}": {"type": "boolean"} for j in range(449)},
                }
                for i in range(20)
            },
        },
        *_ANY,
    ),
    borne(
        "9,000 required names",
        _COMPILER,
        {"type": "object", "required": [f"name{index}" for index in range(9_000)]},
        *_ANY,
        "BUDGET_TOO_SMALL",
    ),
    borne(
        "a divisor of 9,973",
        _COMPILER,
        {"type": "integer", "multipleOf": 9_973, "minimum": 0},
        *_ANY,
    ),
    borne(
        "400 divisors of four digits",
        _COMPILER,
        {
            "type": "array",
            "prefixItems": [
                {"type": "integer", "minimum": 0, "multipleOf": 9_000 + index}
                for index in range(400)
            ],
            "maxItems": 3,
        },
        *_ANY,
    ),
    borne("a divisor of 1e-300", _COMPILER, {"type": "number", "multipleOf": 1e-300}, *_ANY),
    borne(
        "bounds of 1e-300 and 1e300",
        _COMPILER,
        {"type": "number", "exclusiveMinimum": 1e-300, "exclusiveMaximum": 1e300},
        *_ANY,
    ),
    borne(
        "bounds of 300 digits",
        _COMPILER,
        {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
        *_ANY,
    ),
    borne(
        "200 ranges of long numbers",
        _COMPILER,
        {
            "anyOf": [
                {
                    "type": "number",
                    "minimum": index + 0.123456789012345,
                    "maximum": index * 1e12 + 0.98765432109876,
                }
                for index in range(200)
            ]
        },
        *_ANY,
    ),
    borne("a maxLength of 2^63", _COMPILER, {"type": "string", "maxLength": 2**63}, *_ANY),
    borne(
        "a minLength of 2^63",
        _COMPILER,
        {"type": "string", "minLength": 2**63},
        *_ANY,
        "BUDGET_TOO_SMALL",
    ),
    borne(
        "a maxItems of 10^9",
        _COMPILER,
        {"type": "array", "items": {"type": "null"}, "maxItems": 10**9},
        *_ANY,
    ),
    borne(
        "a minLength of 100,000 beside a pattern",
        _MASK,
        {"type": "string", "minLength": 100_000, "pattern": "^[a-z]+$"},
        *_ANY,
        "BUDGET_TOO_SMALL",
    ),
    borne(
        "minProperties of 400",
        _RELAXER,
        {"type": "object", "minProperties": 400, "additionalProperties": {"type": "null"}},
        *_ANY,
        "BUDGET_TOO_SMALL",
    ),
    borne(
        "contains of 900",
        _RELAXER,
        {"type": "array", "contains": {"const": "needle"}, "minContains": 900},
        *_ANY,
    ),
    borne(
        "the engine's own options",
        "the grammar's syntax",
        {
            "x-guidance": {
                "key_separator": "=>",
                "item_separator": ";",
                "lenient": True,
                "whitespace_pattern": "(.|\n)*",
            },
            "type": "object",
            "properties": {"a": {"type": "boolean"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    ),
    borne(
        "the engine's own options below the root",
        "the grammar's syntax",
        {
            "type": "object",
            "properties": {"a": {"x-guidance": {"lenient": True}, "type": "boolean"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    ),
    borne(
        "names that languages know",
        "objects that hold names",
        {
            "type": "object",
            "properties": {
                name: {"type": "boolean"}
                for name in (
                    "__proto__",
                    "constructor",
                    "$ref",
                    "$defs",
                    "__class__",
                    "",
                    " ",
                    "a/b~c",
                    "\u0000",
                    "\u2028",
                    "%00",
                )
            },
            "required": ["__proto__", "$ref"],
            "additionalProperties": False,
        },
    ),
    borne(
        "names that look alike",
        "what compares names",
        {
            "type": "object",
            "properties": {
                "é": {"type": "boolean"},
                "e\u0301": {"type": "null"},
                "\u212b": {"const": 1},
                "\u00c5": {"const": 2},
            },
            "required": ["é", "e\u0301", "\u212b", "\u00c5"],
            "additionalProperties": False,
        },
    ),
]
