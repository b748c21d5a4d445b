"""What surrounds every call, over a real channel, with an engine that does what a test says."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from genir_server.core.self_test import CANARY_SCHEMA
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import TextDelta
from genir_server.transport import server as transport_server
from genir_server.transport.message_fields import MAX_FIELDS
from genir_server.transport.servicer import UNARY_TOKENS_PER_DELTA
from tests.support.scripted_engine import ScriptedEngine, StuckEngine
from tests.support.transport_server import GOOD, REQUEST, failure, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from genir_server.engine.protocol import EngineRequest


async def read_to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_request_id_is_in_initial_and_trailing_metadata() -> None:
    async with serving(ScriptedEngine(GOOD)) as served:
        call = served.stub.GenerateIR(REQUEST)
        assert (await call.initial_metadata())["genir-request-id"] == "mine"
        assert (await call).request_id == "mine"
        assert (await call.trailing_metadata())["genir-request-id"] == "mine"


@pytest.mark.parametrize(
    ("asked", "default", "sizes"),
    [
        (None, 1, [1] * 7),
        (None, 3, [1, 3, 3]),
        (4, 1, [1, 4, 2]),
        (1, 3, [1] * 7),
        (1024, 1, [1, 6]),
    ],
)
async def test_delta_waits_for_the_requested_tokens(
    asked: int | None, default: int, sizes: list[int]
) -> None:
    async with serving(ScriptedEngine(GOOD), tokens_per_delta=default) as served:
        call = served.stub.StreamIR(
            ir_service_pb2.StreamIRRequest(spec=REQUEST.spec, tokens_per_delta=asked)
        )
        events = [event async for event in call]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["accepted", "attempt_started", *["text_delta"] * len(sizes), "completed"]
    deltas = [event.text_delta for event in events[2:-1]]
    assert [delta.token_count for delta in deltas] == sizes
    assert "".join(delta.text for delta in deltas) == GOOD


@pytest.mark.parametrize("asked", [0, -1, 1025])
async def test_tokens_per_delta_out_of_range_is_refused(asked: int) -> None:
    async with serving(ScriptedEngine(GOOD)) as served:
        request = ir_service_pb2.StreamIRRequest(spec=REQUEST.spec, tokens_per_delta=asked)
        call = served.stub.StreamIR(request)
        code, reason, message = await failure(read_to_the_end(call), call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert message == f"tokens_per_delta must be between 1 and 1024, not {asked}"


async def test_unary_call_handles_tokens_in_batches() -> None:
    engine = ScriptedEngine(GOOD)
    async with serving(engine) as served:
        assert (await served.stub.GenerateIR(REQUEST)).ir_json == GOOD
    assert engine.requests[0].tokens_per_delta == UNARY_TOKENS_PER_DELTA


async def test_unexpected_exception_is_internal_and_leaks_nothing() -> None:
    async with serving(ScriptedEngine(RuntimeError("CUDA secret"))) as served:
        code, reason, message = await failure(served.stub.GenerateIR(REQUEST))
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in message


async def test_inner_timeout_is_not_mistaken_for_the_callers_deadline() -> None:
    async with serving(ScriptedEngine(TimeoutError("inside"))) as served:
        code, _, _ = await failure(served.stub.GenerateIR(REQUEST, timeout=50))
    assert code is grpc.StatusCode.INTERNAL


async def test_call_without_a_deadline_gets_the_servers_default() -> None:
    engine = StuckEngine()
    async with serving(engine, default_deadline=0.2) as served:
        code, reason, _ = await failure(served.stub.GenerateIR(REQUEST))
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert engine.open_requests == 0


async def test_what_does_not_fit_is_answered_at_once() -> None:
    engine = StuckEngine(GOOD)
    async with serving(engine, places=1) as served:
        first = served.stub.GenerateIR(REQUEST)
        await engine.started.wait()
        code, reason, _ = await failure(served.stub.GenerateIR(REQUEST))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        engine.release.set()
        assert (await first).ir_json == GOOD


@pytest.mark.parametrize("streaming", [False, True])
async def test_calls_that_outlast_the_drain_get_a_status(*, streaming: bool) -> None:
    engine = StuckEngine()
    async with serving(engine) as served:
        if streaming:
            stream = served.stub.StreamIR(ir_service_pb2.StreamIRRequest(spec=REQUEST.spec))
            call: Any = stream
            assert (await stream.read()).WhichOneof("event") == "accepted"
        else:
            call = served.stub.GenerateIR(REQUEST)
        await engine.started.wait()
        assert served.calls.cut_off(GenirError(Reason.DRAINING, "over")) == 1
        if streaming:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await read_to_the_end(stream)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert raised.value.details() == "over"
        else:
            code, reason, _ = await failure(call)
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert engine.open_requests == 0


async def test_warm_up_continues_when_its_caller_leaves() -> None:
    engine = StuckEngine(GOOD)
    async with serving(engine) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.stub.Warmup(ir_service_pb2.WarmupRequest(), timeout=0.2)
        engine.release.set()
        answer = await served.stub.Warmup(ir_service_pb2.WarmupRequest())
        assert answer.ir_json == GOOD
        assert served.self_test.warm is not None


async def test_failed_canary_is_reported_in_a_field() -> None:
    engine = ScriptedEngine('{"intent":', '{"intent":')
    async with serving(engine, CANARY_SCHEMA) as served:
        shallow = await served.stub.Health(ir_service_pb2.HealthRequest())
        deep = await served.stub.Health(ir_service_pb2.HealthRequest(deep=True))
    assert shallow.canary_failure == status_pb2.ERROR_REASON_UNSPECIFIED
    assert deep.canary_failure == status_pb2.ERROR_REASON_CONSTRAINT_FAILED
    assert not deep.ir_json


async def test_millions_of_messages_do_not_block_the_event_loop() -> None:
    conversation = generation_pb2.Conversation()
    conversation.MergeFromString(b"\x0a\x02\x08\x02" * 1_000_000)
    request = ir_service_pb2.GenerateIRRequest(
        spec=generation_pb2.GenerationSpec(conversation=conversation)
    )
    async with serving(ScriptedEngine()) as served:
        began = time.monotonic()
        code, reason, message = await failure(served.stub.GenerateIR(request))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        # They are not counted to the end.
        assert "spec.conversation.messages" in message
        assert str(MAX_FIELDS) in message
        assert time.monotonic() - began < 3


class FloodingEngine(ScriptedEngine):
    """Writes 64 KiB a token, as fast as it is asked."""

    chunk = "x" * 65_536
    chunks = 400

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        self.requests.append(request)
        self.open_requests += 1
        try:
            for self.asked in range(1, self.chunks + 1):  # noqa: B020 - counted where it can be seen.
                await asyncio.sleep(0)
                yield TextDelta(self.chunk, 1)
        finally:
            self.open_requests -= 1


async def test_unread_stream_holds_little_memory_and_is_cut_off() -> None:
    engine = FloodingEngine()
    async with serving(engine, slow_reader_timeout=3.0) as served:
        stream = served.stub.StreamIR(ir_service_pb2.StreamIRRequest(spec=REQUEST.spec))
        assert (await stream.read()).WhichOneof("event") == "accepted"
        await asyncio.sleep(0.5)
        held = engine.asked * len(engine.chunk)
        assert engine.open_requests == 1
        assert held < 8 << 20, "most of the 25 MiB were never asked for"
        await until(lambda: engine.open_requests == 0)
        stream.cancel()


async def test_slow_reader_gets_every_event() -> None:
    engine = FloodingEngine()
    engine.chunks = 40
    async with serving(engine, slow_reader_timeout=5.0) as served:
        stream = served.stub.StreamIR(
            ir_service_pb2.StreamIRRequest(
                spec=generation_pb2.GenerationSpec(prompt="hi", max_attempts=1)
            )
        )
        size = 0

        async def read_slowly() -> None:
            nonlocal size
            while (event := await stream.read()) is not grpc.aio.EOF:
                size += len(event.text_delta.text)
                await asyncio.sleep(0.02)

        with pytest.raises(grpc.aio.AioRpcError):
            await read_slowly()
        assert size == engine.chunks * len(engine.chunk)


KEEPALIVE = (
    ("grpc.keepalive_time_ms", 300),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
)
SILENT_SECONDS = 4.0


@pytest.mark.parametrize(("interval", "survives"), [(200, True), (60_000, False)])
async def test_long_silent_call_survives_keepalive(
    monkeypatch: pytest.MonkeyPatch, interval: int, *, survives: bool
) -> None:
    """Scaled down: pings as often as the server allows are fine, more often are not."""
    monkeypatch.setattr(transport_server, "MIN_PING_INTERVAL_MS", interval)
    engine = StuckEngine(GOOD)
    async with serving(engine, client_options=KEEPALIVE) as served:
        call = served.stub.GenerateIR(REQUEST, timeout=60)
        await engine.started.wait()
        await asyncio.sleep(SILENT_SECONDS)
        engine.release.set()
        if survives:
            assert (await call).ir_json == GOOD
        else:
            with pytest.raises(grpc.aio.AioRpcError) as cut:
                await call
            assert cut.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_cancelled_calls_leave_no_task() -> None:
    engine = StuckEngine()
    async with serving(engine, places=200) as served:
        before = len(asyncio.all_tasks())
        calls = [served.stub.GenerateIR(REQUEST) for _ in range(100)]
        calls += [served.stub.GenerateIR(REQUEST, timeout=0.2) for _ in range(100)]
        await until(lambda: engine.open_requests >= 100)
        for call in calls[:100]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: engine.open_requests == 0)
        del calls
        await until(lambda: len(asyncio.all_tasks()) <= before + 2)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
