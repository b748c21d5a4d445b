from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from genir_server.schema.checks import validation_cost
from genir_server.schema.checks.validation_cost import may_explode
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from tests.support import strategies

NODE: dict[str, object] = {"$ref": "#/$defs/n"}


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "string"},
        {"properties": {"left": NODE, "right": NODE}},
        {"anyOf": [{"type": "null"}, {"properties": {"next": NODE}}]},
        {"items": NODE, "properties": {"a": NODE}},
        {"prefixItems": [NODE, NODE]},
        {"patternProperties": {"^a": NODE}, "properties": {"b": NODE}, "items": NODE},
    ],
)
def test_one_schema_for_each_place_does_not_explode(definition: dict[str, object]) -> None:
    document: dict[str, object] = {"$defs": {"n": definition}, **NODE}
    assert not may_explode(Document(document, Draft.DRAFT202012))


@pytest.mark.parametrize(
    "definition",
    [
        {"anyOf": [{"properties": {"a": NODE}}, {"properties": {"a": NODE}}]},
        {"properties": {"a": NODE}, "allOf": [{"additionalProperties": NODE}]},
        {"items": NODE, "contains": NODE},
        {"properties": {"a": {"allOf": [NODE, NODE]}}},
        {"allOf": [{"$ref": "#/$defs/m"}], "properties": {"a": NODE}},
    ],
)
def test_two_schemas_of_a_cycle_for_one_place_may_explode(definition: dict[str, object]) -> None:
    document: dict[str, object] = {
        "$defs": {"n": definition, "m": {"properties": {"a": NODE}}},
        **NODE,
    }
    assert may_explode(Document(document, Draft.DRAFT202012))


def test_doubling_at_every_level_may_explode() -> None:
    definitions: dict[str, object] = {
        f"n{level}": {"allOf": [{"properties": {"a": {"$ref": f"#/$defs/n{level + 1}"}}}] * 2}
        for level in range(30)
    }
    definitions["n30"] = {"type": "string"}
    root: dict[str, object] = {"$ref": "#/$defs/n0", "$defs": definitions}
    assert may_explode(Document(root, Draft.DRAFT202012))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas)
def test_schema_small_when_expanded_never_explodes(
    schema: dict[str, object] | bool,
) -> None:
    document = Document(schema, Draft.DRAFT202012)
    if validation_cost._is_small_when_expanded(document):
        assert not validation_cost._Growth(document).may_explode()


def test_cycle_is_never_small_when_expanded() -> None:
    for definition in ({"items": NODE}, {"properties": {"a": {"items": NODE}}}):
        document: dict[str, object] = {"$defs": {"n": definition}, **NODE}
        assert not validation_cost._is_small_when_expanded(Document(document, Draft.DRAFT202012))
