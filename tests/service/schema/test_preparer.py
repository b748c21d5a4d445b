from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from genir_server.core.errors import GenirError, Reason
from genir_server.core.types import Enforcement

if TYPE_CHECKING:
    from genir_server.schema.preparer import Preparer

OBJECT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["name"],
}


async def refusal(preparer: Preparer, text: str) -> GenirError:
    with pytest.raises(GenirError) as caught:
        await preparer.prepare(text)
    assert caught.value.fields[0].field == "spec.json_schema"
    return caught.value


async def test_a_plain_schema_is_prepared(preparer: Preparer) -> None:
    prepared = await preparer.prepare(json.dumps(OBJECT))
    assert prepared.digest.startswith("sha256:")
    assert json.loads(prepared.engine_schema)["required"] == ["name"]
    assert prepared.minimal_instance == '{"name":""}'
    assert prepared.verifier.violations(json.loads(prepared.minimal_instance)) == []
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


async def test_an_unknown_digest_is_unknown(preparer: Preparer) -> None:
    assert preparer.known("sha256:" + "0" * 64) is None


async def test_refusals_are_kept(preparer: Preparer) -> None:
    text = '{"type": "strin"}'
    first = await refusal(preparer, text)
    hits = preparer.counters.cache.hits
    second = await refusal(preparer, text)
    assert first is not second
    assert first.message == second.message
    assert preparer.counters.cache.hits == hits + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type":\n "string",}', "line 2, column 11"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"minimum": NaN}', "NaN"),
        ('{"minimum": 1e999}', "too large"),
        ('{"title": "\\ud800"}', "surrogate"),
        ("[]", "an array"),
        ("", "not JSON"),
        ("false", "No value"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "No value"),
        ('{"$ref": "#/$defs/missing"}', "/$ref"),
        ('{"properties": {"a": {"type": "strin"}}}', "/properties/a/type"),
        ('{"$ref": "#"}', "itself"),
        ('{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/allOf/0"}}}', "itself"),
    ],
)
async def test_what_is_not_a_usable_schema_is_invalid(
    preparer: Preparer, text: str, said: str
) -> None:
    error = await refusal(preparer, text)
    assert error.reason is Reason.SCHEMA_INVALID
    assert said in error.message


async def test_nothing_is_fetched(preparer: Preparer) -> None:
    for reference in ("http://127.0.0.1:9/a.json", "file:///etc/hostname", "other.json"):
        error = await refusal(preparer, json.dumps({"items": {"$ref": reference}}))
        assert error.reason is Reason.SCHEMA_UNSUPPORTED
        assert error.metadata["pointer"] == "/items/$ref"


async def test_a_cancelled_caller_does_not_take_others_along(preparer: Preparer) -> None:
    text = json.dumps({**OBJECT, "title": "cancelled"})
    first = asyncio.create_task(preparer.prepare(text))
    second = asyncio.create_task(preparer.prepare(text))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).text == text
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_only_risky_schemas_are_verified_elsewhere(preparer: Preparer) -> None:
    plain = await preparer.prepare(json.dumps(OBJECT))
    assert not plain.verifier.may_block
    node = {"$ref": "#/$defs/n"}
    alternatives = [{"properties": {"a": node}, "required": [name]} for name in ("x", "y")]
    text = json.dumps({**node, "$defs": {"n": {"type": "object", "anyOf": alternatives}}})
    risky = await preparer.prepare(text)
    assert risky.verifier.may_block
    assert await asyncio.to_thread(risky.verifier.violations, {"x": 1}) == []
    found = await asyncio.to_thread(risky.verifier.violations, {})
    assert [violation.keyword for violation in found] == ["anyOf"]
