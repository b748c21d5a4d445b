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
