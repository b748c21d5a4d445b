"""Schemas that no finite value satisfies are refused, and nothing else is."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir_server.domain.errors import Reason
from genir_server.schema.checks.satisfiable import Satisfiability
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from tests.support import strategies

PIPELINE = Pipeline(load_tokenizer(None), SchemaLimits(), NarrowingBounds())
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}
INTEGER, STRING = {"type": "integer"}, {"type": "string"}

ENDLESS = [
    ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, "/$defs/node/required"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "/minItems"),
    ({"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}, "/minItems"),
    ({"type": "array", "contains": {"$ref": "#"}}, "/contains"),
    (
        {"type": "object", "additionalProperties": {"$ref": "#"}, "required": ["a"]},
        "/required",
    ),
    (
        {
            "anyOf": [{"$ref": "#/$defs/left"}, {"$ref": "#/$defs/right"}],
            "$defs": {
                "left": {"type": "object", "properties": {"r": {"$ref": "#"}}, "required": ["r"]},
                "right": {"type": "array", "items": {"$ref": "#/$defs/left"}, "minItems": 2},
            },
        },
        "/$defs/left/required",
    ),
    (
        {
            "allOf": [{"required": ["a"]}, {"properties": {"a": {"$ref": "#"}}}],
            "type": "object",
        },
        "/allOf/0/required",
    ),
]
CONTRADICTIONS = [
    ({**INTEGER, "not": INTEGER}, "/not"),
    ({**INTEGER, "not": {"type": ["integer", "string"]}}, "/not"),
    ({**INTEGER, "not": {"anyOf": [INTEGER, STRING]}}, "/not"),
    (
        {**INTEGER, "not": {"$ref": "#/$defs/number"}, "$defs": {"number": {"type": "number"}}},
        "/not",
    ),
    ({"type": "string", "pattern": "a", "not": {"pattern": "a"}}, "/not"),
    ({"required": ["a"], "not": {"required": ["a"]}}, "/not"),
    ({"not": {}}, "/not"),
    ({"type": "array", "items": {**INTEGER, "not": INTEGER}, "minItems": 1}, "/items/not"),
    ({"type": "string", "enum": [1, None]}, "/enum"),
    ({"allOf": [STRING, INTEGER]}, "/allOf/1/type"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "/minLength"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "/required"),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "/required"),
    (
        {
            "type": "object",
            "properties": {"a": {}},
            "additionalProperties": False,
            "minProperties": 2,
        },
        "/minProperties",
    ),
    ({"type": "array", "contains": False}, "/contains"),
]
SATISFIABLE = [
    {"type": ["object", "null"], "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    {"type": "object", "properties": {"next": {"$ref": "#"}}},
    {"type": "array", "items": {"$ref": "#"}},
    {"type": "array", "items": {"$ref": "#"}, "maxItems": 3},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"const": 1}]},
    {"type": "number", "not": INTEGER},
    {"type": ["integer", "string"], "not": INTEGER},
    {"type": "object", "not": {"required": ["a"], "properties": {"a": STRING}}},
    # It excludes only objects with other properties than `a`.
    {
        "type": "object",
        "properties": {"a": {}},
        "additionalProperties": False,
        "not": {"additionalProperties": False},
    },
    {"type": "object", "required": ["ab"], "patternProperties": {"^a": {}}},
    {
        "type": "object",
        "required": ["ab"],
        "patternProperties": {"^a": {}},
        "additionalProperties": False,
    },
    {"type": "object", "required": ["a"], "properties": {"a": {}}, "additionalProperties": False},
    {"contains": False},
    {"type": "array", "items": False},
]


@pytest.mark.parametrize(("schema", "pointer"), [*ENDLESS, *CONTRADICTIONS])
def test_what_no_finite_value_satisfies_is_invalid_at_its_place(
    schema: dict[str, object], pointer: str
) -> None:
    with pytest.raises(SchemaRefusedError, match="No value can satisfy the schema") as caught:
        PIPELINE.analyse(json.dumps(schema))
    assert caught.value.reason is Reason.SCHEMA_INVALID
    assert caught.value.metadata["pointer"] == pointer


@pytest.mark.parametrize(("schema", "_"), ENDLESS)
def test_the_message_says_that_it_never_ends(schema: dict[str, object], _: str) -> None:
    with pytest.raises(SchemaRefusedError, match="without end"):
        PIPELINE.analyse(json.dumps(schema))


@pytest.mark.parametrize("schema", SATISFIABLE)
def test_what_a_finite_value_satisfies_is_accepted(schema: dict[str, object]) -> None:
    assert PIPELINE.analyse(json.dumps(schema)).min_tokens


@pytest.mark.parametrize("draft", [Draft.DRAFT6, Draft.DRAFT7])
def test_keywords_beside_a_reference_do_not_count_up_to_draft_7(draft: Draft) -> None:
    schema: dict[str, object] = {
        "properties": {"a": {"$ref": "#/definitions/a", "not": {}, "type": []}},
        "required": ["a"],
        "definitions": {"a": STRING},
    }
    assert Satisfiability(Document(schema, draft)).unsatisfiable == frozenset()


def test_optional_parts_that_nothing_satisfies_are_left_out() -> None:
    schema = {
        "type": "object",
        "properties": {"a": STRING, "b": {"$ref": "#/$defs/node"}},
        "$defs": {"node": NODE},
        "required": ["a"],
    }
    analysis = PIPELINE.analyse(json.dumps(schema))
    assert json.loads(analysis.engine_schema)["properties"]["b"] is False


def test_a_long_chain_takes_little_time() -> None:
    links: dict[str, object] = {
        f"n{n}": {
            "type": "object",
            "properties": {"a": {"$ref": f"#/$defs/n{n + 1}"}},
            "required": ["a"],
        }
        for n in range(100)
    }
    schema: dict[str, object] = {"$ref": "#/$defs/n0", "$defs": {**links, "n100": STRING}}
    assert Satisfiability(Document(schema, Draft.DRAFT202012)).contradiction() is None
    schema["$defs"] = {**links, "n100": {"$ref": "#/$defs/n0"}}
    with pytest.raises(SchemaRefusedError):
        PIPELINE.analyse(json.dumps(schema))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas, st.lists(strategies.values, min_size=1, max_size=10))
def test_no_valid_value_is_called_impossible(
    schema: dict[str, object] | bool, values: list[object]
) -> None:
    document = Document(schema, Draft.DRAFT202012)
    unsatisfiable = Satisfiability(document).unsatisfiable
    for pointer, node in document.nodes.items():
        if pointer in unsatisfiable:
            validator = jsonschema_rs.Draft202012Validator(node.value, validate_formats=True)
            assert not any(map(validator.is_valid, values))
