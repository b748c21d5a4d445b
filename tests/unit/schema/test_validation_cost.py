"""The bound on the time to check a value holds, and is found where checks may take very long."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir_server.core.normalize import normal_form
from genir_server.core.verify import max_check_seconds
from genir_server.schema.checks.evaluation_cost import UNBOUNDED
from genir_server.schema.checks.validation_cost import validation_cost
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.scripted_engine import prepared

if TYPE_CHECKING:
    from collections.abc import Callable

NODE: dict[str, object] = {"$ref": "#/$defs/n"}
# The clock's own resolution, the first use of the validator, and switches to other processes.
CLOCK_SECONDS = 100e-6


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
def test_one_schema_for_each_place_is_bounded(definition: dict[str, object]) -> None:
    document: dict[str, object] = {"$defs": {"n": definition}, **NODE}
    cost = validation_cost(Document(document, Draft.DRAFT202012))
    assert 0 < cost.node < 1e-3
    assert math.isfinite(cost.byte)


@pytest.mark.parametrize(
    "definition",
    [
        {"anyOf": [{"properties": {"a": NODE}}, {"properties": {"a": NODE}}]},
        {"properties": {"a": NODE}, "allOf": [{"additionalProperties": NODE}]},
        {"items": NODE, "contains": NODE},
        {"properties": {"a": {"allOf": [NODE, NODE]}}},
        {"allOf": [{"$ref": "#/$defs/m"}], "properties": {"a": NODE}},
        {"anyOf": [{"properties": {"a": NODE}}], "unevaluatedProperties": False},
        {"prefixItems": [NODE], "unevaluatedItems": False},
        {"items": NODE, "uniqueItems": True},
    ],
)
def test_two_schemas_of_a_cycle_for_one_place_are_unbounded(definition: dict[str, object]) -> None:
    document: dict[str, object] = {
        "$defs": {"n": definition, "m": {"properties": {"a": NODE}}},
        **NODE,
    }
    assert validation_cost(Document(document, Draft.DRAFT202012)) == UNBOUNDED


@pytest.mark.parametrize("keyword", ["allOf", "unevaluatedProperties"])
def test_doubling_at_every_level_is_expensive(keyword: str) -> None:
    def level(number: int) -> dict[str, object]:
        inner: dict[str, object] = {"properties": {"a": {"$ref": f"#/$defs/n{number + 1}"}}}
        if keyword == "allOf":
            return {"allOf": [inner] * 2}
        return {"allOf": [inner], "unevaluatedProperties": False}

    definitions = {f"n{number}": level(number) for number in range(30)}
    definitions["n30"] = {"type": "string"}
    root: dict[str, object] = {"$ref": "#/$defs/n0", "$defs": definitions}
    assert validation_cost(Document(root, Draft.DRAFT202012)).node > 1.0


def test_names_are_checked_with_their_own_schema() -> None:
    pattern = {"pattern": "(?:[a-f]{1,9}-){1,9}"}
    with_names = validation_cost(Document({"propertyNames": pattern}, Draft.DRAFT202012))
    assert with_names.byte > validation_cost(Document({}, Draft.DRAFT202012)).byte


numbers = st.one_of(
    st.integers(-(10**6), 10**6),
    st.integers(-(10**6), 10**6).map(lambda number: number + 0.5),
    st.sampled_from([0.1, 1e-6, 123456789.125, 2**53 - 1]),
)
words = st.text(st.sampled_from("aab-é1 "), max_size=8)
scalars = st.one_of(numbers, words, st.booleans(), st.none())
literals = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
    ),
    max_leaves=12,
)
patterns = st.sampled_from(
    ["^[a-z]+$", "a", "^(a|b|-)*1$", "[^a]{3,200}z", "a.{0,60}b.{0,60}1", "\\p{L}{1,9}x", "-$"]
)


def many(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    """One entry up to hundreds, most of which fit no value."""
    return st.tuples(st.lists(strategy, min_size=1, max_size=4), st.integers(0, 400)).map(
        lambda drawn: [*[index + 0.25 for index in range(drawn[1])], *drawn[0]]
    )


def keyword(name: str, value: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return value.map(lambda drawn: {name: drawn})


leaves = st.one_of(
    keyword("enum", many(literals)),
    keyword("const", literals),
    keyword("minimum", numbers),
    keyword("multipleOf", st.sampled_from([0.01, 3, 0.5])),
    keyword("pattern", patterns),
    keyword("format", st.sampled_from(["date-time", "uuid", "uri", "idn-hostname", "regex"])),
    keyword("required", st.integers(1, 300).map(lambda n: [f"k{i}" for i in range(n)])),
    keyword("uniqueItems", st.just(value=True)),
    keyword("type", st.sampled_from(["string", "number", "array", "object"])),
    keyword("maxLength", st.integers(0, 9)),
)


def compound(
    inner: st.SearchStrategy[dict[str, object]],
) -> st.SearchStrategy[dict[str, object]]:
    some = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        keyword("items", inner),
        keyword("contains", inner),
        keyword("additionalProperties", inner),
        keyword("propertyNames", inner),
        keyword("not", inner),
        keyword("anyOf", some),
        keyword("oneOf", some),
        keyword("allOf", some),
        keyword("properties", st.dictionaries(st.sampled_from("abcd"), inner, min_size=1)),
        keyword("patternProperties", st.dictionaries(patterns, inner, min_size=1, max_size=4)),
        st.tuples(inner, inner).map(lambda both: {**both[0], **both[1]}),
        inner.map(lambda schema: {**schema, "unevaluatedProperties": {"type": "null"}}),
    )


bounded_schemas = st.recursive(leaves, compound, max_leaves=6)
# Values are repeated, because the validator gets slow with their number.
values = st.tuples(literals, st.integers(1, 60), st.booleans()).map(
    lambda drawn: (
        [drawn[0]] * drawn[1]
        if drawn[2]
        else {f"{'abcd'[i % 4]}{i or ''}": drawn[0] for i in range(drawn[1])}
    )
)


def processor_seconds(action: Callable[[], object]) -> float:
    """The least of three runs: other processes only ever add to the time."""
    seconds = []
    for _ in range(3):
        began = time.thread_time()
        action()
        seconds.append(time.thread_time() - began)
    return min(seconds)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(bounded_schemas, values)
def test_check_takes_no_longer_than_its_bound(
    schema: dict[str, object], value: dict[str, object] | list[object]
) -> None:
    cost = validation_cost(Document(schema, Draft.DRAFT202012))
    ir_json = normal_form(json.dumps(value))
    bound = max_check_seconds(ir_json, prepared(node_seconds=cost.node, byte_seconds=cost.byte))
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    parsed = json.loads(ir_json)
    assert processor_seconds(lambda: verifier.is_valid(parsed)) <= bound + CLOCK_SECONDS


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"enum": [100.5 + i for i in range(2_000)]}}, [2_099.5] * 100),
        ({"items": {"enum": [{"a": [i, 1]} for i in range(2_000)]}}, [{"a": [1_999, 1]}] * 50),
        ({"items": {"anyOf": [{"const": i + 0.5} for i in range(1_500)]}}, [7] * 50),
        ({"uniqueItems": True}, [[0.5] * 20 + [i + 0.5] for i in range(14)]),
        ({"items": {"uniqueItems": True}}, [[i + 0.5 for i in range(14)]] * 20),
        ({"items": {"multipleOf": 0.01}}, [123456.75] * 500),
        ({"items": {"pattern": "[^a]{3,200}z"}}, ["bcdé1" * 40] * 20),
        ({"items": {"pattern": "a.{0,60}b.{0,60}c"}}, ["abacabx" * 30] * 20),
        ({"items": {"format": "idn-hostname"}}, ["é" * 60 + ".example"] * 50),
        ({"items": {"dependentRequired": {f"k{i}": ["a"] for i in range(900)}}}, [{"a": 1}] * 90),
    ],
)
def test_bound_of_expensive_checks_holds(schema: dict[str, object], value: object) -> None:
    cost = validation_cost(Document(schema, Draft.DRAFT202012))
    ir_json = normal_form(json.dumps(value))
    bound = max_check_seconds(ir_json, prepared(node_seconds=cost.node, byte_seconds=cost.byte))
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    parsed = json.loads(ir_json)
    assert processor_seconds(lambda: verifier.is_valid(parsed)) <= bound + CLOCK_SECONDS
