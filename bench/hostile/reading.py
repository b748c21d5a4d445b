"""Attacks on schema reading: text, drafts, references, and limits that are checked first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.hostile.cases import borne, compact, refused, too_complex

if TYPE_CHECKING:
    from bench.hostile.cases import Case

INVALID = "SCHEMA_INVALID"
UNSUPPORTED = "SCHEMA_UNSUPPORTED"
_READER = "the reader"
_REFERENCES = "the resolution of references"


def chain(length: int, *, through_items: bool = False) -> dict[str, object]:
    """A chain of definitions, each referring to the next."""
    definitions: dict[str, object] = {}
    for index in range(length):
        link: dict[str, object] = {"$ref": f"#/$defs/d{index + 1}"}
        definitions[f"d{index}"] = {"type": "array", "items": link} if through_items else link
    definitions[f"d{length}"] = {"type": "null"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def laughs(depth: int, fan: int = 2) -> dict[str, object]:
    """A "billion laughs" attack: each definition applies the next several times."""
    definitions: dict[str, object] = {
        f"d{index}": {"allOf": [{"$ref": f"#/$defs/d{index + 1}"}] * fan} for index in range(depth)
    }
    definitions[f"d{depth}"] = {"type": "string", "maxLength": 4}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def _text_cases() -> list[Case]:
    deep_array = "[" * 200_000 + "]" * 200_000
    numbers = ",".join(str(index % 10) for index in range(520_000))
    return [
        too_complex(
            "nested a little too deep", _READER, '{"not":' * 101 + "{}" + "}" * 101, "nesting"
        ),
        too_complex(
            "nested 100,000 deep", _READER, '{"not":' * 100_000 + "{}" + "}" * 100_000, "nesting"
        ),
        too_complex(
            "arrays nested 200,000 deep in a default",
            _READER,
            f'{{"default":{deep_array}}}',
            "nesting",
        ),
        refused(
            "brackets that never close",
            _READER,
            "[" * 500_000,
            INVALID,
            "SCHEMA_TOO_COMPLEX:nesting",
        ),
        refused(
            "an unfinished string of a megabyte", _READER, '{"title":"' + "\\" * 900_001, INVALID
        ),
        refused("a key twice", _READER, '{"type":"string","type":"integer"}', INVALID),
        refused(
            "a key twice, once escaped",
            _READER,
            '{"type":"string","\\u0074ype":"integer"}',
            INVALID,
        ),
        refused("a number beyond a double", _READER, '{"minimum":1e400}', INVALID),
        refused("NaN", _READER, '{"minimum":NaN}', INVALID),
        refused("minus infinity", _READER, '{"minimum":-Infinity}', INVALID),
        refused(
            "an integer of 300,000 digits", _READER, '{"minimum":' + "9" * 300_000 + "}", INVALID
        ),
        refused(
            "an exponent of 300,000 digits", _READER, '{"minimum":1e' + "9" * 300_000 + "}", INVALID
        ),
        borne(
            "an integer of 300 digits",
            _READER,
            '{"type":"integer","minimum":' + "9" * 300 + "}",
            INVALID,
            UNSUPPORTED,
        ),
        refused("half of a surrogate pair, escaped", _READER, '{"const":"\\ud800"}', INVALID),
        refused(
            "half of a surrogate pair in a key", _READER, '{"properties":{"\\udfff":{}}}', INVALID
        ),
        refused("a byte order mark", _READER, '\ufeff{"type":"null"}', INVALID),
        refused("NUL", _READER, '{"type":"null"}\x00', INVALID),
        refused("nothing", _READER, " ", INVALID, "INVALID_FIELD"),
        refused("white space of a megabyte", _READER, " " * 1_000_000, INVALID, "INVALID_FIELD"),
        too_complex(
            "two megabytes of description",
            _READER,
            {"description": "d" * (2 << 20)},
            "schema_bytes",
        ),
        borne(
            "half a million numbers in an annotation",
            _READER,
            f'{{"type":"null","examples":[{numbers}]}}',
            # Slow cores may not read this within the time limit.
            "SCHEMA_TOO_COMPLEX:probe_seconds",
        ),
        borne(
            "a description of 900 KB", "the prompt", {"type": "null", "description": "d " * 450_000}
        ),
        borne(
            "a description of emoji",
            "the tokenizer",
            {"type": "null", "description": "\U0001f9e8" * 2_000},
        ),
        refused(
            "a list of names of types",
            _READER,
            {"type": ["strange"] * 50_000},
            INVALID,
            "SCHEMA_TOO_COMPLEX:probe_seconds",
        ),
        refused("an error message of a megabyte", "the status", {"type": "x" * 900_000}, INVALID),
        refused(
            "an error at a name of a megabyte",
            "the memory of refusals",
            {"properties": {"k" * 900_000: {"type": "x"}}},
            INVALID,
        ),
        refused(
            "an error message in emoji", "the status", {"type": "\U0001f9e8" * 80_000}, INVALID
        ),
        refused(
            "an unknown $schema of 100 KB", "the status", {"$schema": "x" * 100_000}, UNSUPPORTED
        ),
        refused("$schema that is this document", _REFERENCES, {"$schema": "#"}, UNSUPPORTED),
        refused(
            "$schema with a fragment",
            _REFERENCES,
            {"$schema": "http://json-schema.org/draft-07/schema#/properties"},
            UNSUPPORTED,
            INVALID,
        ),
        borne(
            "a $vocabulary of its own",
            "the meta-schema",
            {"$vocabulary": {"https://example.com/mine": True}, "type": "null"},
            UNSUPPORTED,
            INVALID,
        ),
        refused(
            "a file as meta-schema", _REFERENCES, {"$schema": "file:///etc/passwd"}, UNSUPPORTED
        ),
    ]


def _reference_cases() -> list[Case]:
    wide = {f"p{index}": {"$ref": "#"} for index in range(400)}
    tokens = "~0~1" * 8_000
    return [
        refused("a reference to itself", _REFERENCES, {"$ref": "#"}, INVALID),
        refused(
            "two references in a circle",
            _REFERENCES,
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            },
            INVALID,
        ),
        refused(
            "a circle of allOf and not",
            _REFERENCES,
            {"allOf": [{"not": {"anyOf": [{"$ref": "#"}]}}]},
            INVALID,
        ),
        refused(
            "anchors in a circle",
            _REFERENCES,
            {
                "$ref": "#a",
                "$defs": {"a": {"$anchor": "a", "$ref": "#b"}, "b": {"$anchor": "b", "$ref": "#a"}},
            },
            INVALID,
        ),
        refused(
            "dynamic references in a circle",
            _REFERENCES,
            {"$dynamicAnchor": "n", "allOf": [{"$dynamicRef": "#n"}]},
            INVALID,
            UNSUPPORTED,
        ),
        refused(
            "a recursive reference to itself",
            _REFERENCES,
            {
                "$schema": "https://json-schema.org/draft/2019-09/schema",
                "$recursiveAnchor": True,
                "$recursiveRef": "#",
            },
            INVALID,
        ),
        too_complex(
            "1,100 references in a chain",
            "the stack of the compiler",
            chain(1_100),
            "reference_depth",
        ),
        too_complex(
            "1,200 references in a chain of arrays",
            "the stack of the compiler",
            chain(1_200, through_items=True),
            "reference_depth",
        ),
        borne(
            "127 references in a chain of arrays",
            "the stack of the compiler",
            chain(127, through_items=True),
            UNSUPPORTED,
        ),
        too_complex("2^30 laughs", "what expands references", laughs(30), "evaluations"),
        borne(
            "2^16 laughs, below the limit",
            "what expands references",
            laughs(15),
            UNSUPPORTED,
            "SCHEMA_TOO_COMPLEX",
        ),
        borne(
            "40 laughs that are 300 wide",
            "what expands references",
            laughs(2, 300),
            UNSUPPORTED,
            "SCHEMA_TOO_COMPLEX",
        ),
        refused("a pointer of 32 KB into nothing", _REFERENCES, {"$ref": f"#/{tokens}"}, INVALID),
        refused("a pointer of 30,000 steps", _REFERENCES, {"$ref": "#" + "/a" * 30_000}, INVALID),
        borne(
            "a pointer with escapes",
            _REFERENCES,
            {"$ref": "#/$defs/a~1b~0c%25d", "$defs": {"a/b~c%d": {"type": "null"}}},
        ),
        refused(
            "a pointer with broken escapes",
            _REFERENCES,
            {"$ref": "#/$defs/%zz%ff~2", "$defs": {"a": {}}},
            INVALID,
        ),
        refused(
            "a pointer into a constant",
            _REFERENCES,
            {"$ref": "#/const/0", "const": [{"$ref": "#/const/0"}]},
            UNSUPPORTED,
        ),
        refused("a reference that is a number", _REFERENCES, {"$ref": 7}, INVALID),
        refused(
            "a remote reference",
            _REFERENCES,
            {"$ref": "http://169.254.169.254/latest/meta-data"},
            UNSUPPORTED,
        ),
        refused("a reference to a file", _REFERENCES, {"$ref": "file:///etc/passwd"}, UNSUPPORTED),
        refused(
            "a reference that is no URI",
            _REFERENCES,
            {"$ref": "http://[::bad/%%"},
            UNSUPPORTED,
            INVALID,
        ),
        borne(
            "an $id twice",
            _REFERENCES,
            {
                "$ref": "urn:a",
                "$defs": {
                    "x": {"$id": "urn:a", "type": "null"},
                    "y": {"$id": "urn:a", "type": "string"},
                },
            },
            INVALID,
            UNSUPPORTED,
        ),
        borne(
            "an anchor twice",
            _REFERENCES,
            {
                "$ref": "#a",
                "$defs": {
                    "x": {"$anchor": "a", "type": "null"},
                    "y": {"$anchor": "a", "type": "string", "maxLength": 3},
                },
            },
            INVALID,
            UNSUPPORTED,
        ),
        borne(
            "an $id that is the meta-schema's",
            _REFERENCES,
            {"$id": "https://json-schema.org/draft/2020-12/schema", "type": "null"},
            INVALID,
            UNSUPPORTED,
        ),
        borne(
            "80 $ids, each relative to the last", _REFERENCES, _nested_ids(40), INVALID, UNSUPPORTED
        ),
        borne(
            "400 properties that are the root",
            "the size of the grammar",
            {"type": "object", "properties": wide},
            "SCHEMA_TOO_COMPLEX",
            UNSUPPORTED,
        ),
        borne(
            "10,000 subschemas that nothing reaches",
            _READER,
            {
                "type": "null",
                "$defs": {f"d{index}": {"pattern": f"^a{index}$"} for index in range(10_000)},
            },
            UNSUPPORTED,
            "SCHEMA_TOO_COMPLEX",
        ),
        too_complex(
            "60,000 subschemas",
            _READER,
            {
                "type": "object",
                "properties": {
                    f"a{i}": {"type": "object", "properties": {f"b{j}": True for j in range(400)}}
                    for i in range(150)
                },
            },
            "nodes",
            # Slow cores may not read and count this within the time limit.
            "probe_seconds",
        ),
    ]


def _nested_ids(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "null"}
    for index in range(depth):
        schema = {"$id": f"{index}/", "anyOf": [schema]}
    return {"$id": "http://a/", **schema} | {"$id": "http://a/"}


def _limit_cases() -> list[Case]:
    grammar = "the compiler"
    return [
        too_complex("a divisor of 9,999,991", grammar, {"multipleOf": 9_999_991}, "multiple_of"),
        too_complex("a divisor of 0.9999991", grammar, {"multipleOf": 0.9999991}, "multiple_of"),
        too_complex(
            "six divisors that meet",
            grammar,
            {"allOf": [{"multipleOf": n} for n in (7, 11, 13, 17, 19, 23)]},
            "multiple_of",
        ),
        too_complex(
            "divisors that meet through references",
            grammar,
            {
                "$ref": "#/$defs/a",
                "multipleOf": 101,
                "$defs": {"a": {"multipleOf": 103, "$ref": "#/$defs/b"}, "b": {"multipleOf": 107}},
            },
            "multiple_of",
        ),
        too_complex(
            "a repetition of 100,000",
            grammar,
            {"type": "string", "pattern": "^a{100000}$"},
            "quantifier",
        ),
        too_complex(
            "nested repetitions", grammar, {"pattern": "^((a{50}){50}){50}$"}, "quantifier"
        ),
        too_complex(
            "a repetition in a name",
            grammar,
            {"patternProperties": {"^x{60000}$": {"type": "string"}}},
            "quantifier",
        ),
        too_complex(
            "a repetition in propertyNames",
            grammar,
            {"type": "object", "propertyNames": {"pattern": "^(ab){3000}$"}},
            "quantifier",
        ),
        refused(
            "a repetition of 10^30",
            grammar,
            {"pattern": "^a{" + "9" * 30 + "}$"},
            "SCHEMA_TOO_COMPLEX:quantifier",
            UNSUPPORTED,
            INVALID,
        ),
        too_complex("a constant of 100 KB", grammar, {"const": "a" * 100_000}, "string_bytes"),
        too_complex(
            "an enum of 3 MB",
            grammar,
            '{"enum":[' + ",".join(f'"{index:04}{"x" * 4_000}"' for index in range(750)) + "]}",
            "schema_bytes",
        ),
        too_complex(
            "a name of 100 KB", grammar, {"properties": {"k" * 100_000: True}}, "key_bytes"
        ),
        too_complex(
            "a required name of 100 KB", grammar, {"required": ["k" * 100_000]}, "key_bytes"
        ),
        too_complex(
            "an expression of 200 KB", grammar, {"pattern": "abc" * 60_000}, "pattern_bytes"
        ),
        too_complex(
            "400 patternProperties",
            grammar,
            {"patternProperties": {f"^{index:04}$": True for index in range(400)}},
            "pattern_properties",
        ),
        too_complex(
            "10,000 optional properties",
            grammar,
            {"type": "object", "properties": {f"p{index}": True for index in range(10_000)}},
            "optional_properties",
        ),
        too_complex(
            "500 optional properties",
            grammar,
            {"type": "object", "properties": {f"p{index}": True for index in range(500)}},
            "optional_properties",
        ),
        too_complex(
            "anyOf of 5,000",
            grammar,
            {"anyOf": [{"const": index} for index in range(5_000)]},
            "alternatives",
        ),
        too_complex(
            "oneOf of 3,000",
            grammar,
            {"oneOf": [{"const": index} for index in range(3_000)]},
            "alternatives",
        ),
        too_complex("an enum of 20,000", grammar, {"enum": list(range(20_000))}, "enum_values"),
        too_complex(
            "20,000 required names",
            grammar,
            {"required": [f"p{index}" for index in range(20_000)]},
            "enum_values",
        ),
        too_complex(
            "a million items", grammar, {"type": "array", "minItems": 1_000_000}, "min_items"
        ),
        refused(
            "1e308 items",
            grammar,
            '{"type":"array","minItems":1e308}',
            "SCHEMA_TOO_COMPLEX:min_items",
            INVALID,
        ),
        refused(
            "a minimum above the maximum",
            grammar,
            {"type": "number", "minimum": 1e308, "maximum": -1e308},
            INVALID,
        ),
        refused("a divisor of 0", grammar, {"multipleOf": 0}, INVALID),
        refused("the schema false", grammar, "false", INVALID),
        refused(
            "a required property that is false",
            grammar,
            {"type": "object", "properties": {"a": False}, "required": ["a"]},
            INVALID,
        ),
    ]


READING: list[Case] = [*_text_cases(), *_reference_cases(), *_limit_cases()]
__all__ = ["READING", "chain", "compact", "laughs"]
