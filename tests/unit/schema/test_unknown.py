"""What a schema says in vain is reported, and what is meant as an annotation is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genir_server.domain.types import Enforcement
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline

PIPELINE = Pipeline(load_tokenizer(None), SchemaLimits(), NarrowingBounds(enabled=False))
INNER = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}}
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def reported(schema: object) -> dict[str, str]:
    """The details of the annotations that are reported, by pointer."""
    notices = PIPELINE.analyse(json.dumps(schema)).notices
    return {n.pointer: n.detail for n in notices if n.enforcement is Enforcement.ANNOTATION}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("minlength", "minLength"),
        ("max_length", "maxLength"),
        ("maxLenght", "maxLength"),
        ("Type", "type"),
        ("types", "type"),
        ("require", "required"),
        ("requierd", "required"),
        ("propertys", "properties"),
        ("proprties", "properties"),
        ("aditionalProperties", "additionalProperties"),
        ("additionalproperties", "additionalProperties"),
        ("additional_properties", "additionalProperties"),
        ("oneof", "oneOf"),
        ("any_of", "anyOf"),
        ("enums", "enum"),
        ("item", "items"),
        ("patern", "pattern"),
        ("mininum", "minimum"),
        ("ref", "$ref"),
        ("uniqueItem", "uniqueItems"),
    ],
)
def test_a_misspelt_keyword_is_reported_with_the_one_that_is_meant(
    written: str, meant: str
) -> None:
    for schema, pointer in (
        ({written: []}, f"/{written}"),
        ({"properties": {"a": {written: 1}}}, f"/properties/a/{written}"),
        ({"items": {"anyOf": [{"type": "null"}, {written: 1}]}}, f"/items/anyOf/1/{written}"),
    ):
        assert reported(schema) == {pointer: f"no keyword of JSON Schema: {meant} may be meant"}


@pytest.mark.parametrize(
    "schema",
    [
        # Names of properties, values and texts are no keywords.
        {"properties": {"minlength": {}, "types": {}, "ref": {}}, "required": ["require"]},
        {"const": {"types": 1}, "default": {"enums": []}, "examples": [{"oneof": 1}]},
        {"$defs": {"types": {}}, "dependentRequired": {"item": ["enums"]}},
        # Words of other vocabularies.
        {"example": 1, "xml": {"name": "a"}, "externalDocs": {"url": "u"}, "discriminator": {}},
        {"x-type": 1, "x-order": 2, "tsType": "T", "markdownDescription": "d", "note": "n"},
        {"enumNames": ["a"], "enumDescriptions": ["a"], "errorMessage": "e", "href": "h"},
        {"title": "t", "description": "d", "deprecated": True, "readOnly": True, "$comment": "c"},
        {"propertyOrder": 1, "javaType": "T", "faker": "f", "options": {}, "defaultSnippets": []},
        {"nullable": False},
    ],
)
def test_other_words_are_not_reported(schema: object) -> None:
    assert reported(schema) == {}


def test_nullable_is_reported() -> None:
    found = reported({"properties": {"a": {"type": "string", "nullable": True}}})
    assert list(found) == ["/properties/a/nullable"]
    assert '["string", "null"]' in found["/properties/a/nullable"]


@pytest.mark.parametrize(
    ("wrapper", "pointer"),
    [
        ({"name": "a", "strict": True, "schema": INNER}, "/schema"),
        ({"name": "a", "description": "d", "parameters": INNER}, "/parameters"),
        ({"name": "a", "input_schema": INNER}, "/input_schema"),
        ({"name": "a", "inputSchema": INNER}, "/inputSchema"),
        ({"json_schema": {"name": "a", "schema": INNER}}, "/json_schema/schema"),
    ],
)
def test_a_wrapper_of_another_api_is_reported(wrapper: dict[str, Any], pointer: str) -> None:
    found = reported(wrapper)
    assert f"send the value of {pointer} instead" in found["/" + pointer.split("/")[1]]
    assert reported(INNER) == {}
    # With a keyword of its own, a schema is no wrapper.
    assert not any("send" in text for text in reported({**wrapper, "type": "object"}).values())


@pytest.mark.parametrize(
    ("wrapper", "pointer"),
    [
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": INNER}},
            "/json_schema/schema",
        ),
        (
            {"type": "function", "function": {"name": "a", "parameters": INNER}},
            "/function/parameters",
        ),
    ],
)
def test_a_wrapper_that_is_no_schema_is_invalid_where_the_schema_is(
    wrapper: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(SchemaRefusedError, match=f"send the value of {pointer}") as caught:
        PIPELINE.analyse(json.dumps(wrapper))
    assert caught.value.metadata["pointer"] == pointer


def test_the_reason_of_a_guessed_draft_is_reported() -> None:
    schema = {"properties": {"x": {"minimum": 0, "exclusiveMinimum": True}, "y": {"const": 1}}}
    found = reported(schema)
    assert list(found) == ["/properties/y/const"]
    assert found["/properties/y/const"] == (
        "draft 4 gives this keyword no meaning, and without $schema"
        " /properties/x/exclusiveMinimum makes it this draft"
    )
    found = reported({"$schema": DRAFT_4, **schema})
    assert found == {"/properties/y/const": "draft 4 gives this keyword no meaning"}


def test_keywords_that_a_reference_hides_are_reported() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/definitions/a", "maxLength": 5, "description": "d"}},
        "definitions": {"a": {"type": "string"}},
    }
    assert reported({"$schema": DRAFT_7, **schema}) == {
        "/properties/a/maxLength": "draft 7 ignores keywords beside $ref"
    }
    assert reported(schema) == {}


def test_thousands_of_unknown_keywords_take_little_time() -> None:
    schema = {"properties": {f"p{n}": {f"w{n:05}rdtype": 1} for n in range(400)}}
    assert reported(schema) == {}
