from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings

from genir_server.schema import engine
from genir_server.schema.document import Document
from genir_server.schema.relax import relax
from genir_server.schema.sampling import SmallestWriter, light_only
from genir_server.schema.verifier import SchemaVerifier
from genir_server.schema.vocabulary import Draft

from . import strategies

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
