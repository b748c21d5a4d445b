from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.grammar.minimal_instance import MinimalInstanceFinder, few_alternatives
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax import relax
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support import strategies

ORACLE = GrammarOracle()
FINDER = MinimalInstanceFinder(load_tokenizer(None))


def minimal_instance(schema: dict[str, object]) -> str | None:
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    if relaxed.schema is False:
        return None
    whole = relaxed.schema if isinstance(relaxed.schema, dict) else {}
    return FINDER.find(whole, verifier.is_valid)


def test_alternatives_without_subschemas_are_tried_first() -> None:
    heavy = [{"type": "object", "required": [name], "properties": {name: True}} for name in "abcd"]
    assert minimal_instance({"anyOf": [*heavy, {"type": "null"}]}) == "null"


def test_other_alternatives_are_tried_if_the_first_are_impossible() -> None:
    schema: dict[str, object] = {
        "allOf": [
            {"type": "object", "required": ["c"], "properties": {"c": {"const": 1}}},
            {
                "anyOf": [
                    {"type": "null"},
                    {"type": "boolean"},
                    {"type": "object", "properties": {"c": {"type": "integer"}}},
                ]
            },
        ]
    }
    assert minimal_instance(schema) == '{"c":1}'


@pytest.mark.parametrize("length", [60, 70, 100, 1_000, 6_000])
def test_long_string_has_its_minimum_length(length: int) -> None:
    text = minimal_instance(
        {
            "type": "object",
            "properties": {"text": {"type": "string", "minLength": length, "maxLength": 9_000}},
            "required": ["text"],
        }
    )
    assert text is not None
    assert len(json.loads(text)["text"]) == length


def test_pattern_continues_after_a_long_run() -> None:
    text = minimal_instance({"type": "string", "pattern": "^a{900}bcd$"})
    assert text is not None
    assert json.loads(text) == "a" * 900 + "bcd"


def test_very_long_string_gives_no_instance() -> None:
    assert minimal_instance({"type": "string", "minLength": 30_000, "maxLength": 31_000}) is None


def test_search_stops_after_its_time() -> None:
    tried: list[object] = []

    def is_valid(value: object) -> bool:
        tried.append(value)
        return False

    schema: dict[str, object] = {"type": "integer"}
    assert FINDER.find(schema, is_valid) is None
    assert len(tried) > 1
    tried.clear()
    assert FINDER.find(schema, is_valid, seconds=-1.0) is None
    assert not tried


def test_two_alternatives_are_all_kept() -> None:
    schema: dict[str, object] = {"anyOf": [{"items": True}, {"properties": {}}]}
    assert few_alternatives(schema) is None
    assert schema == {"anyOf": [{"items": True}, {"properties": {}}]}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas)
def test_instance_is_valid(schema: dict[str, object] | bool) -> None:
    if not isinstance(schema, dict):
        return
    text = minimal_instance(schema)
    assert text is None or SchemaVerifier(schema, Draft.DRAFT202012).is_valid(json.loads(text))
