"""Regular expressions in schemas, through the real pipeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Enforcement
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.pattern_examples import MEANINGS, NOT_ECMA_262, UNSUPPORTED

if TYPE_CHECKING:
    from genir_server.schema.preparer import Preparer
    from genir_server.schema.types import PreparedSchema

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
TOKENIZER = load_tokenizer(None)


def verifier(prepared: PreparedSchema) -> SchemaVerifier:
    return SchemaVerifier.of(prepared.source)


def engine_accepts(prepared: PreparedSchema, text: str) -> bool:
    matcher = compile_matcher(TOKENIZER, prepared.engine_schema)
    written = json.dumps(text, ensure_ascii=False).encode()
    read = matcher.try_consume_tokens(list(written))
    return bool(read == len(written) and matcher.is_accepting())


async def refusal(preparer: Preparer, schema: object) -> GenirError:
    with pytest.raises(GenirError) as caught:
        await preparer.prepare(json.dumps(schema))
    return caught.value


@pytest.mark.parametrize(("source", "message", "character"), NOT_ECMA_262)
@pytest.mark.parametrize("draft", [None, DRAFT_7])
async def test_other_syntax_is_invalid_at_its_place(
    preparer: Preparer, source: str, message: str, character: int, draft: str | None
) -> None:
    head = {} if draft is None else {"$schema": draft}
    for schema, pointer in (
        ({**head, "items": {"pattern": source}}, "/items/pattern"),
        ({**head, "definitions": {"a": {"pattern": source}}}, "/definitions/a/pattern"),
        ({**head, "patternProperties": {source: {}}}, None),
    ):
        error = await refusal(preparer, schema)
        assert error.reason is Reason.SCHEMA_INVALID
        assert message in error.message
        assert f", at character {character} (at /" in error.message
        if pointer is not None:
            assert error.metadata["pointer"] == pointer


@pytest.mark.parametrize(("source", "message", "character"), UNSUPPORTED)
async def test_what_cannot_be_matched_is_unsupported_at_its_place(
    preparer: Preparer, source: str, message: str, character: int
) -> None:
    error = await refusal(preparer, {"properties": {"a": {"pattern": source}}})
    assert error.reason is Reason.SCHEMA_UNSUPPORTED
    assert message in error.message
    assert f"at character {character} (at /properties/a/pattern)" in error.message


@pytest.mark.parametrize(("source", "matching", "other"), MEANINGS)
@pytest.mark.parametrize("draft", [None, DRAFT_7])
async def test_pattern_means_what_ecma_262_says(
    preparer: Preparer, source: str, matching: list[str], other: list[str], draft: str | None
) -> None:
    head = {} if draft is None else {"$schema": draft}
    schema = {**head, "type": "string", "pattern": source}
    prepared = await preparer.prepare(json.dumps(schema))
    subject = verifier(prepared)
    assert [text for text in matching if not subject.is_valid(text)] == []
    assert [text for text in other if subject.is_valid(text)] == []
    assert [text for text in matching if not engine_accepts(prepared, text)] == []
    if not any(
        notice.enforcement is Enforcement.CHECKED_AFTER_DECODING for notice in prepared.notices
    ):
        assert [text for text in other if engine_accepts(prepared, text)] == []


@pytest.mark.parametrize(("source", "matching", "other"), MEANINGS)
async def test_names_match_as_ecma_262_says(
    preparer: Preparer, source: str, matching: list[str], other: list[str]
) -> None:
    schema = {"patternProperties": {source: {"type": "null"}}, "additionalProperties": False}
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert [text for text in matching if not subject.is_valid({text: None})] == []
    assert [text for text in other if subject.is_valid({text: None})] == []


async def test_violations_speak_of_the_callers_patterns(preparer: Preparer) -> None:
    schema = {
        "properties": {"a": {"pattern": r"^\d$"}, "b": {"pattern": "^[0-9]$"}},
        "patternProperties": {r"^\w+\.$": {"type": "null"}},
        "propertyNames": {"pattern": r"^[\s\S]{0,3}$"},
    }
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    found = subject.violations({"a": "x", "b": "y", "c.": 1, "long": 2})
    assert sorted((violation.schema_pointer, violation.message) for violation in found) == [
        (r"/patternProperties/^\w+\.$/type", '1 is not of type "null"'),
        ("/properties/a/pattern", r'"x" does not match "^\d$"'),
        ("/properties/b/pattern", '"y" does not match "^[0-9]$"'),
        ("/propertyNames/pattern", r'"long" does not match "^[\s\S]{0,3}$"'),
    ]


async def test_names_that_two_equal_patterns_match_satisfy_both_schemas(
    preparer: Preparer,
) -> None:
    schema = {
        "type": "object",
        "patternProperties": {
            r"^\d$": {"type": "integer"},
            "^[0-9]$": {"minimum": 5},
            "(?:^[0-9]$)": {"maximum": 9},
        },
        "additionalProperties": False,
    }
    prepared = await preparer.prepare(json.dumps(schema))
    subject = verifier(prepared)
    assert subject.is_valid({"1": 7})
    for value in (3, 7.5, 10):
        assert not subject.is_valid({"1": value})
    for value, pattern in ((3, "^[0-9]$"), (7.5, r"^\d$"), (10, "(?:^[0-9]$)")):
        (violation,) = subject.violations({"1": value})
        assert f"/{pattern}/" in violation.schema_pointer


@pytest.mark.parametrize(
    "reference",
    [
        r"#/patternProperties/^\d~1\w$",
        "#/patternProperties/%5E%5Cd~1%5Cw%24",
        r"https://example.com/root#/patternProperties/^\d~1\w$",
    ],
)
async def test_reference_through_a_pattern_still_works(preparer: Preparer, reference: str) -> None:
    schema = {
        "$id": "https://example.com/root",
        "type": "object",
        "properties": {"a": {"$ref": reference}, "b": {"$ref": f"{reference}/items"}},
        "patternProperties": {r"^\d/\w$": {"type": "array", "items": {"type": "null"}}},
    }
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert subject.is_valid({"a": [None], "b": None, "1/x": []})
    invalid: list[dict[str, object]] = [{"a": 1}, {"b": []}, {"1/x": 1}, {"a": [1]}]
    for value in invalid:
        assert not subject.is_valid(value)


async def test_reference_through_a_pattern_inside_another_resource(preparer: Preparer) -> None:
    part = {
        "$id": "part",
        "patternProperties": {r"\d": {"type": "null"}},
        "properties": {"x": {"$ref": r"#/patternProperties/\d"}},
    }
    schema = {
        "$id": "https://example.com/",
        "patternProperties": {r"^\w$": part},
        "properties": {"long": {"$ref": r"part#/patternProperties/\d"}},
    }
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert subject.is_valid({"a": {"x": None, "1": None}, "long": None})
    for value in ({"a": {"x": 1}}, {"a": {"1": 1}}, {"long": 1}):
        assert not subject.is_valid(value)


async def test_only_schemas_are_translated(preparer: Preparer) -> None:
    literal = {"pattern": "(?i)a", "patternProperties": {r"\d": 1}}
    schema = {
        "enum": [literal, {"pattern": "1"}],
        "default": literal,
        "examples": [literal],
        "properties": {"pattern": {"type": "string", "pattern": r"\d"}},
    }
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert subject.is_valid({"pattern": "1"})
    assert [violation.keyword for violation in subject.violations(literal)] == ["pattern"]
    only = verifier(await preparer.prepare(json.dumps({"const": literal, "title": r"\d"})))
    assert only.is_valid(literal)


@pytest.mark.parametrize("draft", ["draft-06/schema#", "draft-07/schema#", "2019-09", "2020-12"])
@pytest.mark.parametrize(
    ("schema", "pointer", "keyword"),
    [
        ({"const": {"pattern": r"^\d$"}, "anyOf": [{"$ref": "#/const"}]}, "/const", "const"),
        ({"enum": [{"a": {"title": "b"}}], "not": {"$ref": "#/enum/0/a"}}, "/enum/0/a", "enum"),
        (
            {"items": {"enum": [1, True]}, "allOf": [{"$ref": "#/items/enum/1"}]},
            "/items/enum/1",
            "enum",
        ),
        (
            {"properties": {"const": {"pattern": r"\d"}}, "not": {"$ref": "#/properties"}},
            "/properties/const",
            "const",
        ),
    ],
)
async def test_reference_into_a_literal_is_refused(
    preparer: Preparer, schema: dict[str, object], pointer: str, keyword: str, draft: str
) -> None:
    host = "http://json-schema.org" if draft.endswith("#") else "https://json-schema.org"
    draft = draft if draft.endswith("#") else f"draft/{draft}/schema"
    error = await refusal(preparer, {"$schema": f"{host}/{draft}", **schema})
    assert error.reason is Reason.SCHEMA_UNSUPPORTED
    assert error.metadata["pointer"] == pointer
    assert f"makes a schema of a value in {keyword}: put a copy of the value into $defs" in (
        error.message
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"default": {"pattern": r"^\d$"}, "$ref": "#/default"},
        {"x": {"y": [{"pattern": r"^\d$"}]}, "$ref": "#/x/y/0"},
        {"examples": [{"pattern": r"^\d$"}], "$ref": "#/examples/0"},
    ],
)
async def test_reference_into_what_is_no_literal_is_followed(
    preparer: Preparer, schema: dict[str, object]
) -> None:
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert subject.is_valid("3")
    assert not subject.is_valid("٣")


async def test_map_of_patterns_that_a_reference_makes_a_schema_is_translated(
    preparer: Preparer,
) -> None:
    schema = {
        "patternProperties": {"patternProperties": {r"^\d$": {"type": "null"}}},
        "properties": {"a": {"$ref": "#/patternProperties"}},
    }
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert subject.is_valid({"a": {"٣": 1, "3": None}})
    assert not subject.is_valid({"a": {"3": 1}})


async def test_enum_and_const_of_older_drafts_hold_what_they_hold(preparer: Preparer) -> None:
    """Draft 4 knows no `const`, so a part of it may be a schema."""
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "const": {"pattern": r"^\d$"},
        "anyOf": [{"$ref": "#/const"}],
    }
    subject = verifier(await preparer.prepare(json.dumps(schema)))
    assert subject.is_valid("3")
    assert not subject.is_valid("٣")


async def test_text_stays_the_callers_own_where_no_pattern_needs_a_translation(
    preparer: Preparer,
) -> None:
    text = '{ "pattern": "^[a-z]{2}$", "const": "ab" }'
    assert (await preparer.prepare(text)).source.text == text


async def test_what_is_no_pattern_is_refused_where_other_faults_stay_known(
    preparer: Preparer,
) -> None:
    """The meta-schema of draft 7 also checks patterns, more strictly."""
    head = {"$schema": DRAFT_7}
    subject = verifier(await preparer.prepare(json.dumps({**head, "pattern": r"^[\w-.]}$"})))
    assert subject.is_valid("-}")
    faulty = {"patternProperties": {"a}": {}, "b}": {"items": {"minLength": "x"}}}}
    error = await refusal(preparer, {**head, **faulty})
    assert error.metadata["pointer"] == "/patternProperties/b}/items/minLength"


@pytest.mark.parametrize("source", [case[0] for case in NOT_ECMA_262])
async def test_format_regex_refuses_what_is_not_ecma_262(preparer: Preparer, source: str) -> None:
    for head in ({}, {"$schema": DRAFT_7}):
        prepared = await preparer.prepare(json.dumps({**head, "format": "regex"}))
        assert not verifier(prepared).is_valid(source)


@pytest.mark.parametrize("source", [case[0] for case in (*MEANINGS, *UNSUPPORTED[:-1])])
async def test_format_regex_accepts_ecma_262(preparer: Preparer, source: str) -> None:
    prepared = await preparer.prepare(json.dumps({"format": "regex"}))
    assert verifier(prepared).is_valid(source)
