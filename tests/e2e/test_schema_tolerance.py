"""Common styles of schemas give valid values. On the embedded model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema.validators import validator_for

if TYPE_CHECKING:
    from genir import IRClient

SHORT = {"type": "string", "minLength": 1, "maxLength": 16}

SCHEMAS: dict[str, dict[str, Any]] = {
    "no type": {
        "properties": {"name": SHORT, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "count"],
    },
    "$ref into $defs": {
        "type": "object",
        "properties": {"first": {"$ref": "#/$defs/item"}, "second": {"$ref": "#/$defs/item"}},
        "required": ["first", "second"],
        "additionalProperties": False,
        "$defs": {
            "item": {
                "type": "object",
                "properties": {"label": SHORT},
                "required": ["label"],
                "additionalProperties": False,
            }
        },
    },
    "definitions of draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"size": {"$ref": "#/definitions/size"}},
        "required": ["size"],
        "definitions": {"size": {"enum": ["small", "large"]}},
    },
    "nullable unions": {
        "type": "object",
        "properties": {
            "by_type": {"type": ["string", "null"], "maxLength": 12},
            "by_any_of": {
                "anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]
            },
        },
        "required": ["by_type", "by_any_of"],
        "additionalProperties": False,
    },
    "nested arrays": {
        "type": "object",
        "properties": {
            "matrix": {
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "items": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 2,
                    "items": {"type": "integer", "minimum": 0, "maximum": 9},
                },
            }
        },
        "required": ["matrix"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_common_schema_style_gives_a_valid_value(embedded_client: IRClient, name: str) -> None:
    schema = SCHEMAS[name]
    result = embedded_client.generate("Give an example.", schema=schema, seed=3)
    assert result.ir_json
    assert json.loads(result.ir_json) == result.value
    validator_for(schema)(schema).validate(result.value)
