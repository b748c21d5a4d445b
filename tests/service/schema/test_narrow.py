from __future__ import annotations

import json

import pytest

from genir_server.core.types import Enforcement
from genir_server.schema import engine
from genir_server.schema.document import Document
from genir_server.schema.limits import NarrowingBounds
from genir_server.schema.narrow import narrow
from genir_server.schema.relax import relax
from genir_server.schema.verifier import SchemaVerifier
from genir_server.schema.vocabulary import Draft

ORACLE = engine.LibraryOracle()
TOKENIZER = engine.load_tokenizer(None)
BOUNDS = NarrowingBounds(string_characters=5, array_items=2, map_properties=2, integer_digits=4)


def accepts(schema: dict[str, object], text: str, bounds: NarrowingBounds = BOUNDS) -> bool:
    """Whether the narrowed schema lets the engine write a text."""
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    narrowed, _ = narrow(relaxed, bounds, ORACLE.compiles)
    matcher = engine.matcher(TOKENIZER, json.dumps(narrowed))
    assert not matcher.get_error()
    count = matcher.try_consume_tokens(list(text.encode()))
    return count == len(text.encode()) and bool(matcher.is_accepting())


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        ({"type": "string"}, '"abcde"', '"abcdef"'),
        ({"type": "string", "pattern": "a+"}, '"aaaaa"', '"aaaaaa"'),
        ({"type": "integer"}, "9999", "10000"),
        ({"type": "number"}, "-1.5", "10000.5"),
        ({"type": "number", "minimum": 0}, "0.123456789", "0.1234567891"),
        ({"type": "array", "items": {"type": "null"}}, "[null,null]", "[null,null,null]"),
        ({"type": "object", "properties": {"a": {}}}, '{"a":1}', '{"b":1}'),
        ({"properties": {"a": {}}}, '{"a":[{}]}', "[]"),
        ({"minLength": 1}, '"a"', "1"),
        ({"type": "object"}, '{"a":1,"b":2}', '{"a":1,"b":2,"c":3}'),
        ({}, '{"a":[1]}', '{"a":[[1]]}'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, '"abcde"', '"abcdef"'),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, '"abcde"', '"abcdef"'),
        ({"type": "array", "items": {}}, "[1,{}]", "[1,2,3]"),
    ],
)
def test_endless_output_is_bounded(schema: dict[str, object], yes: str, no: str) -> None:
    assert accepts(schema, yes)
    assert not accepts(schema, no)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "maxLength": 9}, '"abcdefghi"'),
        ({"type": "string", "minLength": 7}, '"abcdefg"'),
        ({"type": "string", "pattern": "^[a-f]{6}$"}, '"abcdef"'),
        ({"type": "integer", "minimum": 20_000}, "20001"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 4}, "[null,null,null,null]"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": {}}, '{"b":1}'),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, '{"b":1}'),
        ({"type": "object", "allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}},
         '{"a":1,"b":1}'),
        ({"const": "abcdefgh"}, '"abcdefgh"'),
        ({"type": "string", "format": "date-time"}, '"2026-01-02T03:04:05Z"'),
    ],
)  # fmt: skip
def test_what_the_schema_demands_is_left_possible(schema: dict[str, object], text: str) -> None:
    assert accepts(schema, text)


def test_every_place_is_reported() -> None:
    schema: dict[str, object] = {"properties": {"a": {"type": "string"}, "b": {}}}
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    _, notices = narrow(relaxed, BOUNDS, ORACLE.compiles)
    assert {notice.pointer for notice in notices} == {
        "/type",
        "/additionalProperties",
        "/properties/a/maxLength",
        "/properties/b",
    }
    assert {notice.enforcement for notice in notices} == {Enforcement.NARROWED}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", f"{'a' * 60}@b.c", f"{'a' * 65}@b.c"),
        ("email", f"a@{'b' * 60}.c", f"a@{'b' * 64}.c"),
        ("hostname", ".".join(["a" * 60] * 4), ".".join(["a" * 60] * 5)),
    ],
)
def test_formats_end_where_the_verifier_refuses_more(name: str, good: str, bad: str) -> None:
    schema: dict[str, object] = {"type": "string", "format": name}
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    assert verifier.is_valid(good)
    assert not verifier.is_valid(bad)
    assert accepts(schema, json.dumps(good), NarrowingBounds())
    assert not accepts(schema, json.dumps(bad), NarrowingBounds())
