"""Closings are planned in worker processes, within their limits."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genir_server.domain.errors import GenirError
from genir_server.schema.closing.message import ClosingRequest, decode_plan, encode_plan
from genir_server.schema.preparer import Preparer
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import ClosingPlan, VerifierSource, WrittenText

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer", "minimum": 7}},
        "required": ["name", "size"],
    }
)
WRITTEN = '{"name":"half “writ'.encode()


async def plan(
    preparer: Preparer, prepared: PreparedSchema, written: bytes, max_tokens: int = 200
) -> ClosingPlan | None:
    text = written.decode(errors="ignore")
    return await preparer.plan_closing(
        prepared, WrittenText(prepared.engine_schema, text, list(written)), max_tokens
    )


async def test_worker_plans_a_closing(preparer: Preparer) -> None:
    prepared = await preparer.prepare(SCHEMA)
    found = await plan(preparer, prepared, WRITTEN)
    assert found is not None
    assert found.kept_bytes == len(WRITTEN)
    assert found.smallest == '","size":10}'
    assert found.total_tokens == len(WRITTEN + found.smallest.encode())
    assert found.closed_early == ("", "/name")
    # Half of a character is part of the text, and not of what is kept.
    cut = await plan(preparer, prepared, WRITTEN[:16])
    assert cut is not None
    assert cut.kept_bytes == 14


async def test_values_are_checked_against_the_callers_schema(preparer: Preparer) -> None:
    prepared = await preparer.prepare(SCHEMA)
    stricter = json.dumps({**json.loads(SCHEMA), "properties": {"size": {"const": 7.5}}})
    source = VerifierSource(stricter, Draft.DRAFT202012)
    impossible = replace(prepared, source=source, minimal_instance=None)
    assert await plan(preparer, impossible, WRITTEN) is None


@pytest.mark.parametrize("written", [b"}", b"\xff\xfe", b'{"name":7'])
async def test_text_of_no_value_keeps_nothing_of_it(preparer: Preparer, written: bytes) -> None:
    prepared = await preparer.prepare(SCHEMA)
    found = await plan(preparer, prepared, written)
    assert found is not None
    assert found.smallest.endswith('"name":"","size":10}')
    assert found.kept_bytes <= 1


async def test_what_takes_too_long_gives_no_plan(preparer: Preparer) -> None:
    prepared = await preparer.prepare(SCHEMA)
    digits = json.dumps({"pattern": "^(?:[0-9]{1,900}x){900}$", "type": "string"})
    slow = replace(prepared, engine_schema=digits, minimal_instance=None)
    assert await plan(preparer, slow, b'"') is None
    # The worker goes on.
    assert await plan(preparer, prepared, WRITTEN) is not None


async def test_last_resort_is_the_minimal_instance(preparer: Preparer) -> None:
    prepared = await preparer.prepare(SCHEMA)
    assert prepared.minimal_instance is not None
    enough = prepared.closable_tokens
    assert enough == len(prepared.minimal_instance)
    closed = Preparer(None)
    await closed.close()
    found = await plan(closed, prepared, WRITTEN, enough)
    assert found is not None
    assert (found.kept_bytes, found.smallest) == (0, prepared.minimal_instance)
    assert found.total_tokens == enough
    assert await plan(closed, prepared, WRITTEN, enough - 1) is None


async def test_closed_preparer_gives_no_plan(preparer: Preparer) -> None:
    prepared = replace(await preparer.prepare(SCHEMA), minimal_instance=None)
    closed = Preparer(None)
    await closed.close()
    assert await plan(closed, prepared, WRITTEN) is None
    with pytest.raises(GenirError):
        await closed.prepare(SCHEMA)


async def test_many_plans_at_once(preparer: Preparer) -> None:
    prepared = await preparer.prepare(SCHEMA)
    found = await asyncio.gather(*(plan(preparer, prepared, WRITTEN) for _ in range(8)))
    assert len({one and one.smallest for one in found}) == 1


def test_request_and_plan_cross_unchanged() -> None:
    written = WrittenText('{"const":"“"}', '\n{"“', [1, 1, 200_000], 2)
    request = ClosingRequest(written, VerifierSource("{}\n", Draft.DRAFT7), 9)
    assert ClosingRequest.decode(request.encode()) == request
    found = ClosingPlan(3, "],", '{"a":"“"}', '["', "“}", (4, 7), 1, 9, ("", "/a"))
    assert decode_plan(encode_plan(found)) == found
    assert decode_plan(encode_plan(None)) is None
