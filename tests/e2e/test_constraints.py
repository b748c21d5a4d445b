"""Every constraint of the schema holds in the value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from genir import IRClient

pytestmark = pytest.mark.any_model

CASES: dict[str, dict[str, Any]] = {
    "lengths": {"type": "string", "minLength": 5, "maxLength": 8},
    "items": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 6},
        "minItems": 2,
        "maxItems": 3,
    },
    "pattern": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    "enum": {"enum": ["red", "green", "blue"]},
    "number range": {"type": "integer", "minimum": 10, "maximum": 20},
    "exact keys": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": 0, "maximum": 9},
            "b": {"type": "boolean"},
            "c": {"type": "null"},
        },
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", CASES)
def test_constraint_holds(client: IRClient, name: str, temperature: float) -> None:
    schema = {
        "type": "object",
        "properties": {"value": CASES[name]},
        "required": ["value"],
        "additionalProperties": False,
    }
    # The prompt asks for something else: decoding alone must enforce the constraint.
    result = client.generate(
        "Write a long poem about the sea.",
        schema=schema,
        temperature=temperature,
        seed=7,
        schema_in_prompt="never",
    )
    Draft202012Validator(schema).validate(result.value)
    assert len(result.attempts) == 1
    assert result.schema_notices == ()
    value = result.value["value"]
    match name:
        case "lengths":
            assert 5 <= len(value) <= 8
        case "items":
            assert 2 <= len(value) <= 3
        case "pattern":
            assert re.fullmatch("[A-Z]{3}-[0-9]{4}", value)
        case "enum":
            assert value in {"red", "green", "blue"}
        case "number range":
            assert 10 <= value <= 20
        case "exact keys":
            assert set(value) == {"a", "b", "c"}
        case _:
            raise AssertionError(name)
