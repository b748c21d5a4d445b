"""Refusals by the grammar compiler name the place in the caller's schema, in genir's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genir_server.domain.errors import Reason
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.explanation import not_enforced
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.relax import Relaxed
from genir_server.schema.relax.part import Part

PIPELINE = Pipeline(load_tokenizer(None), SchemaLimits(), NarrowingBounds())
EMPTY = {"type": "string", "pattern": "^a$", "allOf": [{"pattern": "^b$"}]}
TEXTS = "no text fits all its patterns, formats and lengths"


def needs(name: str, schema: object) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


UNSATISFIABLE: list[tuple[object, str]] = [
    (EMPTY, ""),
    (needs("a/b", EMPTY), "/properties/a~1b"),
    (needs("a", needs("b", EMPTY)), "/properties/a/properties/b"),
    ({"type": "array", "minItems": 1, "items": EMPTY}, "/items"),
    ({"type": "array", "minItems": 2, "prefixItems": [True, EMPTY]}, "/prefixItems/1"),
    ({"allOf": [{"type": "string"}, EMPTY]}, "/allOf/1"),
    (needs("a", {"$ref": "#/$defs/s"}) | {"$defs": {"s": EMPTY}}, "/$defs/s"),
    (
        {
            "$ref": "#/$defs/x",
            "$defs": {"x": needs("next", {"$ref": "#/$defs/y"}), "y": EMPTY},
        },
        "/$defs/y",
    ),
    ({"type": "string", "format": "date", "pattern": "^x"}, ""),
]


@pytest.mark.parametrize(("schema", "pointer"), UNSATISFIABLE)
def test_contradiction_is_named_at_its_place(schema: object, pointer: str) -> None:
    with pytest.raises(SchemaRefusedError) as caught:
        PIPELINE.analyse(json.dumps(schema))
    refusal = caught.value
    assert refusal.reason is Reason.SCHEMA_INVALID
    assert refusal.message.startswith(f"No value can satisfy the schema: {TEXTS} (at ")
    assert refusal.metadata == {"pointer": pointer}
    assert "nsatisfiable" not in refusal.message


@pytest.mark.parametrize("optional", [EMPTY, False, {"$ref": "#/$defs/s"}])
def test_contradiction_that_a_value_can_avoid_is_no_refusal(optional: object) -> None:
    schema = {"type": "object", "properties": {"a": optional, "b": True}, "$defs": {"s": EMPTY}}
    assert PIPELINE.analyse(json.dumps(schema)).engine_schema


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("Schema intersection stack level exceeded", "references beside other keywords"),
        ("Unable to determine if regex is empty: /a/", "too hard to analyse"),
        ("failed to compile regex", "a regular expression is more than it can match"),
        ("min/maxProperties not supported", "it counts properties"),
        ("grammar too large", "its grammar becomes too large"),
        ("something of tomorrow", "does not take this combination of keywords"),
    ],
)
def test_other_refusals_have_words_and_a_place(error: str, words: str) -> None:
    part = Part({"type": "string"})
    part.origin = "/$defs/a b"
    relaxed = Relaxed({"$ref": "#/$defs/ab", "$defs": {"ab": part}}, ())
    refusal = not_enforced(relaxed, f"{error}\n  while processing json-schema:///#/$defs/ab")
    assert refusal.reason is Reason.SCHEMA_UNSUPPORTED
    assert words in refusal.message
    assert error not in refusal.message
    assert refusal.metadata == {"pointer": "/$defs/a b"}
