"""The client sends a large schema as text until the server has accepted it, then its digest."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir import NotFoundError
from genir._known_schemas import MIN_SHORTENED_BYTES, KnownSchemas
from genir.v1 import generation_pb2, ir_service_pb2
from tests.support.contract_server import (
    DIGEST,
    OVERLOADED,
    Call,
    ContractServer,
    Refusal,
    accepted,
    completed,
    delta,
    digest_of,
    refused,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client_adapters import Caller

LARGE = {"enum": ["x" * MIN_SHORTENED_BYTES]}
NOT_KNOWN = Refusal(grpc.StatusCode.NOT_FOUND, "SCHEMA_NOT_FOUND")


def text_of(schema: object) -> str:
    return json.dumps(schema, separators=(",", ":"))


class Cache:
    """Answers like a server that caches schemas."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def __call__(self, call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
        request = call.request
        assert isinstance(request, ir_service_pb2.StreamIRRequest)
        digest = request.spec.schema_digest
        if digest and digest not in self.known:
            NOT_KNOWN.abort(call)
        if not digest:
            self.known.add(digest_of(request.spec.json_schema))
        yield from (accepted(), started(), delta("1"), completed("1"))


def sent(server: ContractServer) -> list[str | None]:
    """The field that held the schema of each call."""
    specs: list[str | None] = []
    for call in server.calls:
        assert isinstance(call.request, ir_service_pb2.StreamIRRequest)
        specs.append(call.request.spec.WhichOneof("schema"))
    return specs


async def test_second_call_sends_only_the_digest(caller: Caller, server: ContractServer) -> None:
    server.script(Cache())
    for _ in range(3):
        await caller.generate("hi", schema=LARGE)
    assert sent(server) == ["json_schema", "schema_digest", "schema_digest"]
    last = server.calls[-1].request
    assert isinstance(last, ir_service_pb2.StreamIRRequest)
    assert last.spec.schema_digest == digest_of(text_of(LARGE))


async def test_text_is_sent_again_when_the_server_lost_the_schema(
    caller: Caller, server: ContractServer
) -> None:
    cache = Cache()
    server.script(cache)
    await caller.generate("hi", schema=LARGE)
    cache.known.clear()
    result = await caller.generate("hi", schema=LARGE)
    assert result.value == 1
    await caller.generate("hi", schema=LARGE)
    assert sent(server) == ["json_schema", "schema_digest", "json_schema", "schema_digest"]


async def test_server_that_keeps_no_schemas_costs_one_more_round_trip(
    caller: Caller, server: ContractServer
) -> None:
    cache = Cache()
    server.script(cache)
    for _ in range(3):
        await caller.generate("hi", schema=LARGE)
        cache.known.clear()
    assert sent(server) == ["json_schema", *["schema_digest", "json_schema"] * 2]


async def test_not_found_after_sending_the_text_is_raised(
    caller: Caller, server: ContractServer
) -> None:
    server.script(Cache(), refused(NOT_KNOWN))
    await caller.generate("hi", schema=LARGE)
    with pytest.raises(NotFoundError):
        await caller.generate("hi", schema=LARGE)
    assert sent(server) == ["json_schema", "schema_digest", "json_schema"]


async def test_sending_the_text_combines_with_other_retries(
    caller: Caller, server: ContractServer
) -> None:
    cache = Cache()
    server.script(cache, refused(OVERLOADED), refused(NOT_KNOWN), refused(OVERLOADED), Cache())
    await caller.generate("hi", schema=LARGE)
    await caller.generate("hi", schema=LARGE)
    assert sent(server)[1:] == ["schema_digest"] * 2 + ["json_schema"] * 2


async def test_unknown_digest_from_the_caller_is_raised(
    caller: Caller, server: ContractServer
) -> None:
    server.script(refused(NOT_KNOWN))
    with pytest.raises(NotFoundError):
        await caller.generate("hi", schema_digest="sha256:" + "0" * 64)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("schema", "options"),
    [({"enum": ["x" * 500]}, {}), (LARGE, {"send_digests": False})],
    ids=["small", "switched off"],
)
async def test_small_schemas_and_disabled_digests_are_sent_as_text(
    server: ContractServer,
    connect: Callable[..., Caller],
    schema: dict[str, Any],
    options: dict[str, Any],
) -> None:
    server.script(Cache())
    caller = connect(server.target, **options)
    for _ in range(2):
        await caller.generate("hi", schema=schema)
    assert sent(server) == ["json_schema"] * 2


async def test_checks_and_warmups_allow_sending_the_digest(
    caller: Caller, server: ContractServer
) -> None:
    cache = Cache()
    server.script(cache)
    other = {"enum": ["y" * MIN_SHORTENED_BYTES]}

    def check(call: Call) -> ir_service_pb2.CheckSchemaResponse:
        assert isinstance(call.request, ir_service_pb2.CheckSchemaRequest)
        digest = digest_of(call.request.json_schema)
        cache.known.add(digest)
        return ir_service_pb2.CheckSchemaResponse(schema_digest=digest)

    def warm(call: Call) -> ir_service_pb2.WarmupResponse:
        assert isinstance(call.request, ir_service_pb2.WarmupRequest)
        response = ir_service_pb2.WarmupResponse(ir_json="{}", schema_digest=DIGEST)
        for text in call.request.json_schemas:
            cache.known.add(digest_of(text))
            response.schemas.add(schema_digest=digest_of(text))
        return response

    server.service.checks = deque([check])
    server.service.warmups = deque([warm])
    await caller.check_schema(LARGE)
    await caller.warmup(schemas=[other])
    server.calls.clear()
    await caller.generate("hi", schema=LARGE)
    await caller.generate("hi", schema=other)
    assert sent(server) == ["schema_digest"] * 2


def test_oldest_digests_are_forgotten() -> None:
    known = KnownSchemas()
    for number in range(1_024):
        known.learn(str(number))
    known.learn("0")
    known.learn("one more")
    assert known.knows("0")
    assert not known.knows("1")
    assert known.knows("2")


def test_size_of_a_schema_counts_utf8_bytes() -> None:
    known = KnownSchemas()
    text = '"' + "ß" * (MIN_SHORTENED_BYTES // 2) + '"'
    known.learn(digest_of(text))
    spec = generation_pb2.GenerationSpec(json_schema=text)
    known.shorten(spec, digest_of(text))
    assert spec.schema_digest == digest_of(text)
