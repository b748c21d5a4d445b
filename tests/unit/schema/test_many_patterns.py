"""Schemas with many properties of the same form are enforced as those with one."""

from __future__ import annotations

import json

import pytest

from genir_server.domain.types import Enforcement
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline

SLUG = "^[a-z]+(-[a-z]+)*$"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(load_tokenizer(None), SchemaLimits(), NarrowingBounds(), for_xgrammar=False)


def test_each_of_many_patterns_with_a_length_is_enforced(pipeline: Pipeline) -> None:
    properties = {
        f"slug{number}": {"type": "string", "pattern": SLUG, "maxLength": 30 + number}
        for number in range(12)
    }
    analysis = pipeline.analyse(json.dumps({"type": "object", "properties": properties}))
    assert not [
        notice
        for notice in analysis.notices
        if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
    ]


@pytest.mark.parametrize("name", ["Ärger", "注文", "Box<string>", "a b"])
def test_reference_may_have_characters_that_no_uri_has(pipeline: Pipeline, name: str) -> None:
    schema = {"$ref": f"#/$defs/{name}", "$defs": {name: {"type": "integer"}}}
    analysis = pipeline.analyse(json.dumps(schema, ensure_ascii=False))
    assert "integer" in analysis.engine_schema
