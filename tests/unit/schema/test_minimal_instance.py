from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from genir_server.schema.grammar import guidance as engine
from genir_server.schema.grammar.minimal_instance import SmallestWriter, light_only
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax import relax
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support import strategies

ORACLE = engine.LibraryOracle()
WRITER = SmallestWriter(engine.load_tokenizer(None))


def written(schema: dict[str, object]) -> str | None:
    """A small value for a schema."""
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    if relaxed.schema is False:
        return None
    whole = relaxed.schema if isinstance(relaxed.schema, dict) else {}
    return WRITER.write(whole, verifier.is_valid)


def test_of_many_alternatives_the_light_ones_are_tried_first() -> None:
    heavy = [{"type": "object", "required": [name], "properties": {name: True}} for name in "abcd"]
    assert written({"anyOf": [*heavy, {"type": "null"}]}) == "null"


def test_where_the_light_alternatives_are_ruled_out_the_others_are_tried() -> None:
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
    assert written(schema) == '{"c":1}'


@pytest.mark.parametrize("length", [60, 70, 100, 1_000, 6_000])
def test_a_long_string_is_written_no_longer_than_it_must_be(length: int) -> None:
    text = written(
        {
            "type": "object",
            "properties": {"text": {"type": "string", "minLength": length, "maxLength": 9_000}},
            "required": ["text"],
        }
    )
    assert text is not None
    assert len(json.loads(text)["text"]) == length


def test_what_must_follow_a_long_run_follows_it() -> None:
    text = written({"type": "string", "pattern": "^a{900}bcd$"})
    assert text is not None
    assert json.loads(text) == "a" * 900 + "bcd"


def test_a_string_too_long_to_be_written_is_given_up() -> None:
    assert written({"type": "string", "minLength": 30_000, "maxLength": 31_000}) is None


def test_nothing_is_tried_when_the_time_is_up() -> None:
    tried: list[object] = []

    def accepts(value: object) -> bool:
        tried.append(value)
        return False

    schema: dict[str, object] = {"type": "integer"}
    assert WRITER.write(schema, accepts) is None
    assert len(tried) > 1
    tried.clear()
    assert WRITER.write(schema, accepts, seconds=-1.0) is None
    assert not tried


def test_few_alternatives_all_stay() -> None:
    schema: dict[str, object] = {"anyOf": [{"items": True}, {"properties": {}}]}
    assert light_only(schema) is None
    assert schema == {"anyOf": [{"items": True}, {"properties": {}}]}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas)
def test_what_is_written_is_valid(schema: dict[str, object] | bool) -> None:
    if not isinstance(schema, dict):
        return
    text = written(schema)
    assert text is None or SchemaVerifier(schema, Draft.DRAFT202012).is_valid(json.loads(text))
