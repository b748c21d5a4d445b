from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from genir_server.domain.types import Enforcement
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax import relax
from genir_server.schema.relax.context import Options
from tests.support import strategies

if TYPE_CHECKING:
    from genir_server.schema.relax import Relaxed

ORACLE = GrammarOracle()
OPTIONS = st.builds(
    Options,
    open_circular=st.booleans(),
    plain_counts=st.booleans(),
    plain_patterns=st.booleans(),
    plain_conditions=st.booleans(),
    plain_recursion=st.booleans(),
)


def relaxed(schema: dict[str, object] | bool, options: Options | None = None) -> Relaxed:
    return relax(Document(schema, Draft.DRAFT202012), ORACLE, options)


def accepts(schema: dict[str, object] | bool, value: object) -> bool:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, offline=True).is_valid(
        value
    )


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas, st.lists(strategies.values, min_size=1, max_size=8), OPTIONS)
def test_relaxed_schema_accepts_all_valid_values_and_exact_is_exact(
    schema: dict[str, object] | bool, values: list[object], options: Options
) -> None:
    result = relaxed(schema, options)
    # The schema as text, because the pipeline goes on with that.
    written = json.loads(json.dumps(result.schema))
    for value in values:
        if accepts(schema, value):
            assert accepts(written, value)
        elif result.exact:
            assert not accepts(written, value)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas)
def test_grammar_compiler_accepts_the_result_or_fails_with_a_known_message(
    schema: dict[str, object] | bool,
) -> None:
    result = relaxed(schema)
    assume(isinstance(result.schema, dict))
    error = compile_matcher(load_tokenizer(None), json.dumps(result.schema)).get_error()
    assert (
        not error
        or "nsatisfiable" in error
        or "disjoint" in error
        or "min/maxProperties" in error
        or "intersection" in error
        # An integer that is a fraction: no value, and coarser forms are tried.
        or "regex for integer range: min=Some(1), max=Some(0)" in error
    ), error


def keywords(result: Relaxed, enforcement: Enforcement) -> set[str]:
    return {notice.keyword for notice in result.notices if notice.enforcement is enforcement}


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "string", "not": {"const": "abc"}}, "not"),
        ({"type": "object", "not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}}, "not"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, "oneOf"),
        (
            {
                "properties": {"kind": {"enum": ["x", "y"]}},
                "required": ["kind"],
                "if": {"properties": {"kind": {"const": "x"}}},
                "then": {"required": ["x"]},
                "else": {"required": ["y"]},
            },
            "if",
        ),
        ({"dependentRequired": {"a": ["b", "c"]}}, "dependentRequired"),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, "dependentSchemas"),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}, "uniqueItems"),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, "propertyNames"),
        ({"propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"propertyNames": {"enum": ["a", "b"]}}, "propertyNames"),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"prefixItems": [{}], "unevaluatedItems": False}, "unevaluatedItems"),
        ({"format": "json-pointer"}, "format"),
        (
            {"patternProperties": {"^a": {"type": "null"}, "b": {"type": "null"}}},
            "patternProperties",
        ),
    ],
)
def test_rewritten_keywords_are_exact(schema: dict[str, object], keyword: str) -> None:
    result = relaxed(schema)
    assert keywords(result, Enforcement.REWRITTEN) == {keyword}
    assert result.exact


@pytest.mark.parametrize(
    ("schema", "engine_schema"),
    [
        ({"type": "integer", "enum": [0.5, 1, 2.0]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": ["integer", "null"], "const": 0.5}, False),
        ({"type": ["integer", "number"], "enum": [0.5, 1]}, {"type": "number", "enum": [0.5, 1]}),
        ({"type": ["integer", "string"], "enum": [0.5]}, False),
    ],
)
def test_fractions_are_removed_from_integer_enums(
    schema: dict[str, object], engine_schema: object
) -> None:
    result = relaxed(schema)
    assert result.schema == engine_schema
    assert result.exact


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"items": {"type": "array", "uniqueItems": True}}, "/items/uniqueItems"),
        ({"properties": {"a": {"format": "regex"}}}, "/properties/a/format"),
        ({"pattern": "^(?=a)"}, "/pattern"),
        ({"contains": {"const": 1}}, "/contains"),
        ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "/oneOf"),
        ({"not": {"pattern": "a"}}, "/not"),
        ({"type": "number", "multipleOf": 0.5}, "/multipleOf"),
    ],
)
def test_unsupported_keywords_are_left_to_the_verifier(
    schema: dict[str, object], pointer: str
) -> None:
    (notice,) = relaxed(schema).notices
    assert notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
    assert notice.pointer == pointer
    assert notice.detail


@pytest.mark.parametrize(
    "options",
    [
        [{"type": "string"}, {"type": "integer"}],
        [{"const": 1}, {"const": 2}],
        [{"enum": ["a"]}, {"enum": ["b", "c"]}],
        [{"type": "number", "maximum": 3}, {"type": "number", "exclusiveMinimum": 3}],
        [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 4}],
        [
            {"type": "object", "required": ["k"], "properties": {"k": {"const": name}}}
            for name in ("x", "y", "z")
        ],
        [
            {"type": "object", "required": ["a"]},
            {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
        ],
        [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
    ],
)
def test_disjoint_one_of_becomes_any_of_without_notice(options: list[object]) -> None:
    schema: dict[str, object] = {
        "oneOf": options,
        "$defs": {"a": {"const": "a"}, "b": {"const": "b"}},
    }
    result = relaxed(schema)
    assert result.notices == ()
    assert isinstance(result.schema, dict)
    assert len(result.schema["anyOf"]) == len(options)  # type: ignore[arg-type]


def test_non_standard_format_is_an_annotation() -> None:
    (notice,) = relaxed({"type": "integer", "format": "int32"}).notices
    assert notice.enforcement is Enforcement.ANNOTATION


def test_keywords_beside_a_reference_count_since_2019_09() -> None:
    schema: dict[str, object] = {
        "properties": {"a": {"$ref": "#/definitions/a", "maxLength": 1}},
        "definitions": {"a": {"type": "string"}},
    }
    old = relax(Document(schema, Draft.DRAFT7), ORACLE).schema
    new = relax(Document(schema, Draft.DRAFT202012), ORACLE).schema
    assert old["properties"] == {"a": {"$ref": "#/$defs/a"}}  # type: ignore[index]
    assert new["properties"] == {"a": {"$ref": "#/$defs/a", "maxLength": 1}}  # type: ignore[index]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "string"}}},
            {"a": "x", "child": {"a": "y"}},
        ),
        ({"type": ["array", "string"], "items": [{"type": "string"}]}, ["x", ["y"]]),
    ],
)
def test_recursive_references_to_the_outermost_schema_lose_nothing(
    part: dict[str, object], value: object
) -> None:
    more: dict[str, object] = {"properties": {"child": {"$recursiveRef": "#"}}}
    keyword = "unevaluatedProperties" if "properties" in part else "unevaluatedItems"
    if keyword == "unevaluatedItems":
        more = {"items": [True, {"$recursiveRef": "#"}]}
    schema: dict[str, object] = {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": "https://example.com/whole",
        "$recursiveAnchor": True,
        "$ref": "part",
        **more,
        keyword: False,
        "$defs": {
            "part": {"$id": "part", "$recursiveAnchor": True, "anyOf": [part], "$defs": {}},
        },
    }
    validator = jsonschema_rs.Draft201909Validator(schema, offline=True)
    assert validator.is_valid(value)
    result = relax(Document(schema, Draft.DRAFT201909), ORACLE)
    assert accepts(json.loads(json.dumps(result.schema)), value)


@pytest.mark.parametrize("keyword", ["$recursiveRef", "dependencies"])
def test_unevaluated_parts_are_left_to_the_check_beside_what_may_evaluate_them(
    keyword: str,
) -> None:
    beside = "#" if keyword == "$recursiveRef" else {"a": {"properties": {"b": True}}}
    for unevaluated in ("unevaluatedProperties", "unevaluatedItems"):
        schema: dict[str, object] = {"properties": {"x": {keyword: beside, unevaluated: False}}}
        notices = relax(Document(schema, Draft.DRAFT201909), ORACLE).notices
        assert f"/properties/x/{unevaluated}" in {
            notice.pointer
            for notice in notices
            if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
        }
