from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest

from genir_server.core.verify import MAX_INLINE_SECONDS, max_check_seconds
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Enforcement, Tightening
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.schema_host import NAME, schema_host

if TYPE_CHECKING:
    from pathlib import Path

    from genir_server.schema.preparer import Preparer

OBJECT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["name"],
}

# Draft 4 offers alternatives for items, so the real error is inside one of them.
NESTED_FAULT = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "items": {"oneOf": [{}, {"items": {"minLength": "a"}}]},
}


async def refusal(preparer: Preparer, text: str) -> GenirError:
    with pytest.raises(GenirError) as caught:
        await preparer.prepare(text)
    assert caught.value.fields[0].field == "spec.json_schema"
    return caught.value


async def test_simple_schema_is_prepared(preparer: Preparer) -> None:
    prepared = await preparer.prepare(json.dumps(OBJECT))
    assert prepared.digest.startswith("sha256:")
    assert json.loads(prepared.engine_schema)["required"] == ["name"]
    assert prepared.minimal_instance == '{"name":""}'
    assert prepared.verifier is not None
    assert prepared.verifier.is_valid(json.loads(prepared.minimal_instance))
    assert 1 <= prepared.min_tokens <= len(prepared.minimal_instance)
    assert all(notice.enforcement is Enforcement.NARROWED for notice in prepared.notices)


async def test_equal_texts_share_one_preparation(preparer: Preparer) -> None:
    text = json.dumps({**OBJECT, "title": "shared"})
    before = preparer.counters.cache.misses
    first, second, third = await asyncio.gather(*(preparer.prepare(text) for _ in range(3)))
    assert first is second is third
    assert await preparer.prepare(text) is first
    assert preparer.known(first.digest) is first
    assert preparer.counters.cache.misses == before + 1


async def test_unknown_digest_gives_none(preparer: Preparer) -> None:
    assert preparer.known("sha256:" + "0" * 64) is None


async def test_statistics_count_what_was_done(preparer: Preparer) -> None:
    before = preparer.statistics()
    prepared = await preparer.prepare(json.dumps({**OBJECT, "title": "counted"}))
    assert preparer.known(prepared.digest) is prepared
    for _ in range(2):
        await refusal(preparer, '{"title": "counted", "type": "strin"}')
    await refusal(preparer, '{"title": "counted", "multipleOf": 9999991}')
    after = preparer.statistics()
    assert after.entries == before.entries + 3
    assert before.size_bytes < after.size_bytes < after.max_bytes
    assert (after.hits, after.misses) == (before.hits + 2, before.misses + 3)
    assert after.prepared == before.prepared + 1
    assert after.total_prepare_seconds > before.total_prepare_seconds
    assert after.max_prepare_seconds > 0
    for reason in (Reason.SCHEMA_INVALID, Reason.SCHEMA_TOO_COMPLEX):
        assert after.refused[reason] == before.refused.get(reason, 0) + 1


async def test_refused_tightened_form_is_not_counted_as_a_refusal(
    preparer: Preparer,
) -> None:
    before = preparer.statistics().refused
    with pytest.raises(GenirError):
        await preparer.prepare('{"multipleOf": 9999991}', tightening=Tightening.COMPACT)
    assert preparer.statistics().refused == before


async def test_largest_value_for_each_limit_is_measured(preparer: Preparer) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]{2,70}$"},
            "size": {"enum": ["small", "large", "größer"]},
            "tags": {"type": "array", "minItems": 3, "items": {"$ref": "#/$defs/tag"}},
            "share": {"type": "number", "minimum": 0, "multipleOf": 0.25},
        },
        "patternProperties": {"^x-": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}},
        "required": ["name"],
        "$defs": {"tag": {"const": "yes"}},
    }
    text = json.dumps(schema)
    measured = dict((await preparer.prepare(text)).measured)
    limits = preparer.limits()
    assert 0 < measured.pop("probe_seconds") <= limits["probe_seconds"]
    assert 0 < measured.pop("compile_seconds") <= limits["compile_seconds"]
    assert 0 < measured.pop("mask_seconds") <= limits["mask_seconds"]
    assert measured == {
        "schema_bytes": len(text),
        "nodes": 10,
        "optional_properties": 3,
        "pattern_properties": 1,
        "pattern_bytes": 13,
        "quantifier": 70,
        "alternatives": 2,
        "enum_values": 3,
        "string_bytes": 8,
        "key_bytes": 5,
        "min_items": 3,
        "reference_depth": 1,
        "evaluations": 3,
        "multiple_of": 25,
    }
    assert measured.keys() <= limits.keys()


async def test_refusals_are_cached(preparer: Preparer) -> None:
    text = '{"type": "strin"}'
    first = await refusal(preparer, text)
    hits = preparer.counters.cache.hits
    second = await refusal(preparer, text)
    assert first is not second
    assert first.message == second.message
    assert preparer.counters.cache.hits == hits + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":\n "string",}', "line 2, column 11"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"minimum": NaN}', "NaN"),
        ('{"minimum": 1e999}', "too large"),
        ('{"title": "\\ud800"}', "surrogate"),
        ("[]", "an array"),
        ("", "not JSON"),
        ("not json", "not JSON"),
        ('{"type": 12}', "/type"),
        ('{"type": "foo"}', "/type"),
        ('{"type": "object", "properties": {"a": false}, "required": ["a"]}', "No value"),
        ("false", "No value"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "No value"),
        ('{"$ref": "#/$defs/missing"}', "/$ref"),
        ('{"properties": {"a": {"type": "strin"}}}', "/properties/a/type"),
        (json.dumps(NESTED_FAULT), "(at /items/oneOf/1/items/minLength)"),
        ('{"$ref": "#"}', "itself"),
        ('{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/allOf/0"}}}', "itself"),
    ],
)
async def test_unusable_schema_is_invalid(preparer: Preparer, text: str, message: str) -> None:
    error = await refusal(preparer, text)
    assert error.reason is Reason.SCHEMA_INVALID
    assert message in error.message


async def test_references_are_never_fetched(preparer: Preparer, tmp_path: Path) -> None:
    """Neither a server nor a file that has the schema is read."""
    with schema_host(tmp_path) as host:
        for folder in host.folders():
            cases: list[tuple[dict[str, object], str]] = [
                ({"items": {"$ref": f"{folder}{NAME}"}}, "/items/$ref"),
                ({"$id": f"{folder}root.json", "items": {"$ref": NAME}}, "/items/$ref"),
                ({"$schema": f"{folder}{NAME}"}, "/$schema"),
            ]
            for schema, pointer in cases:
                error = await refusal(preparer, json.dumps(schema))
                assert error.reason is Reason.SCHEMA_UNSUPPORTED
                assert error.metadata["pointer"] == pointer
        host.assert_reachable(tmp_path)


async def test_cancelled_caller_does_not_cancel_the_preparation_for_others(
    preparer: Preparer,
) -> None:
    text = json.dumps({**OBJECT, "title": "cancelled"})
    first = asyncio.create_task(preparer.prepare(text))
    second = asyncio.create_task(preparer.prepare(text))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).text == text
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_nobody_waits_for_any_more_is_not_begun(preparer: Preparer) -> None:
    texts = [json.dumps({**OBJECT, "title": f"abandoned {number}"}) for number in range(60)]
    jobs = preparer.counters.pool.jobs
    calls = [asyncio.create_task(preparer.prepare(text, "a")) for text in texts]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    after = await preparer.prepare(json.dumps({**OBJECT, "title": "after"}), "a")
    assert after.draft
    # What a worker had begun with goes on, and is found when it is asked for again.
    assert preparer.counters.pool.jobs - jobs < 10
    again = await asyncio.gather(*(preparer.prepare(text, "a") for text in texts[:3]))
    assert [each.text for each in again] == texts[:3]


async def test_only_risky_schemas_are_verified_in_a_worker(preparer: Preparer) -> None:
    plain = await preparer.prepare(json.dumps(OBJECT))
    assert plain.verifier is not None
    node = {"$ref": "#/$defs/n"}
    alternatives = [{"properties": {"a": node}, "required": [name]} for name in ("x", "y")]
    text = json.dumps({**node, "$defs": {"n": {"type": "object", "anyOf": alternatives}}})
    risky = await preparer.prepare(text)
    assert risky.verifier is None


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "pattern": "^(?!secret)[a-z]{1,9}$"}, "a"),
        ({"type": "string", "pattern": "(a[ab]{900}|b[ab]{700})c"}, "ab" * 400 + "c"),
        (
            {
                "$defs": {
                    "a": {"anyOf": [{"const": 1}] * 20},
                    "b": {"anyOf": [{"$ref": "#/$defs/a"}] * 20},
                    "c": {"anyOf": [{"$ref": "#/$defs/b"}] * 20},
                },
                "items": {"type": "null", "not": {"$ref": "#/$defs/c"}},
            },
            [None],
        ),
    ],
    ids=["backtracking", "repetitions", "many schemas for one item"],
)
async def test_value_that_is_costly_to_check_is_verified_in_a_worker(
    preparer: Preparer, schema: dict[str, object], value: object
) -> None:
    prepared = await preparer.prepare(json.dumps(schema))
    seconds = max_check_seconds(json.dumps(value), prepared)
    assert prepared.verifier is None or seconds > MAX_INLINE_SECONDS


async def test_cached_refusals_count_with_their_size(preparer: Preparer) -> None:
    before = preparer._cache.size_bytes
    name = "k" * 300_000
    error = await refusal(preparer, json.dumps({"properties": {name: {"type": "strin"}}}))
    assert error.reason is Reason.SCHEMA_INVALID
    assert preparer._cache.size_bytes - before > len(error.metadata["pointer"]) > len(name)


async def test_recursion_that_the_engine_cannot_intersect_is_left_to_the_verifier(
    preparer: Preparer,
) -> None:
    # Three endless recursions through the same properties.
    definitions = {
        "some": {"type": "object", "additionalProperties": {"$ref": "#/$defs/some"}},
        "pairs": {"additionalProperties": {"$ref": "#/$defs/impair"}},
        "impair": {"additionalProperties": {"$ref": "#/$defs/pairs"}, "minProperties": 1},
    }
    parts = [{"$ref": "#/$defs/some"}, {"$ref": "#/$defs/pairs"}]
    prepared = await preparer.prepare(json.dumps({"allOf": parts, "$defs": definitions}))
    checked = [
        notice.pointer
        for notice in prepared.notices
        if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
    ]
    assert "/allOf" in checked
    engine = jsonschema_rs.Draft202012Validator(prepared.engine_schema, offline=True)
    assert engine.is_valid({"a": {"b": {}}})
    assert not engine.is_valid({"a": 1})
    verifier = SchemaVerifier(prepared.source.text, prepared.source.draft)
    assert verifier.is_valid({"a": {"b": {}}})
    assert not verifier.is_valid({"a": {}})
