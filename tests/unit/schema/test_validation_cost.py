from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from genir_server.schema.checks import validation_cost as growth
from genir_server.schema.checks.validation_cost import explosive
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
def test_what_meets_a_part_once_is_harmless(definition: dict[str, object]) -> None:
    document: dict[str, object] = {"$defs": {"n": definition}, **NODE}
    assert not explosive(Document(document, Draft.DRAFT202012))


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
def test_what_meets_a_part_twice_in_a_cycle_is_explosive(definition: dict[str, object]) -> None:
    document: dict[str, object] = {
        "$defs": {"n": definition, "m": {"properties": {"a": NODE}}},
        **NODE,
    }
    assert explosive(Document(document, Draft.DRAFT202012))


def test_doubling_from_level_to_level_is_explosive() -> None:
    definitions: dict[str, object] = {
        f"n{level}": {"allOf": [{"properties": {"a": {"$ref": f"#/$defs/n{level + 1}"}}}] * 2}
        for level in range(30)
    }
    definitions["n30"] = {"type": "string"}
    root: dict[str, object] = {"$ref": "#/$defs/n0", "$defs": definitions}
    assert explosive(Document(root, Draft.DRAFT202012))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas)
def test_what_is_small_written_out_is_never_explosive(schema: dict[str, object] | bool) -> None:
    document = Document(schema, Draft.DRAFT202012)
    if growth._small_written_out(document):
        assert not growth._Growth(document).explosive()


def test_what_refers_to_itself_is_looked_at_closely() -> None:
    for definition in ({"items": NODE}, {"properties": {"a": {"items": NODE}}}):
        document: dict[str, object] = {"$defs": {"n": definition}, **NODE}
        assert not growth._small_written_out(Document(document, Draft.DRAFT202012))
