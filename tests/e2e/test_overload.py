"""Overload, priorities, slow readers, abandoned calls and draining, on one server.

The last test stops it with 51 calls in flight.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from bench.support.health_watch import ReadinessWatch
from bench.support.server_process import still_running
from bench.support.tiny_server import ENDLESS, NO_RETRIES, SHORT, TinyServer, text_schema
from genir import IRClient, UnavailableError
from genir.types import Phase
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from tests.support.calls import refusal_from, spec, wait_until_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = 64
RUNNING = 8
LAME_DUCK_SECONDS = 1.0
MEBIBYTE = 1 << 20
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
MEDIUM = text_schema(350, 400)
LONG = text_schema(1500, 1700)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    process = TinyServer(
        tmp_path_factory.mktemp("overload"),
        "--max-concurrent-calls",
        str(PLACES),
        "--max-calls-per-caller",
        str(PLACES),
        "--max-running-calls",
        str(RUNNING),
        "--lame-duck",
        str(LAME_DUCK_SECONDS),
        "--drain-timeout",
        "300",
    )
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


@pytest.fixture
def client(server: TinyServer) -> Iterator[IRClient]:
    with IRClient(server.target, retry=NO_RETRIES, timeout=300) as client:
        yield client
        wait_until_idle(client)


def request(schema: dict[str, Any], **fields: Any) -> ir_service_pb2.GenerateIRRequest:
    fields = {"max_tokens": 3000, "schema_in_prompt": 3, **fields}
    return ir_service_pb2.GenerateIRRequest(spec=spec("Write.", schema=schema, **fields))


def test_call_beyond_the_limit_is_refused_at_once_while_health_answers(
    server: TinyServer, client: IRClient
) -> None:
    client.generate("Measures the pace.", schema=SHORT)
    with grpc.insecure_channel(server.target) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        filling = [stub.GenerateIR.future(request(ENDLESS), timeout=300) for _ in range(PLACES)]
        deadline = time.monotonic() + 60
        while (health := client.health()).activity.calls_in_flight < PLACES:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert health.activity.running <= RUNNING

        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            stub.GenerateIR(request(SHORT), timeout=60)
        assert time.monotonic() - began < 2
        refusal = refusal_from(refused.value)
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OVERLOADED",
        )
        assert refusal.retry_seconds
        assert refusal.metadata["max"] == str(PLACES)

        # Health checks are not queued.
        assert server.health_status("readiness") == SERVING
        deep = client.health(deep=True, timeout=60)
        assert deep.ir_json
        for call in filling:
            call.cancel()


def test_long_truncated_text_is_streamed_whole_and_its_status_stays_small(
    server: TinyServer,
) -> None:
    """The text is too long for any metadata."""
    request_ = ir_service_pb2.StreamIRRequest(spec=request(ENDLESS, max_tokens=1300).spec)
    request_.spec.on_budget = generation_pb2.ON_BUDGET_FAIL
    texts: list[str] = []
    with grpc.insecure_channel(server.target) as channel:
        stream = ir_service_pb2_grpc.IRServiceStub(channel).StreamIR(request_, timeout=300)
        with pytest.raises(grpc.RpcError) as raised:
            texts.extend(event.text_delta.text for event in stream)
    refusal = refusal_from(raised.value)
    assert refusal.reason == "TRUNCATED"
    assert refusal.details_bytes < 6 * 1024
    raw = "".join(texts)
    failure = refusal.failure
    assert failure is not None
    assert 6 * 1024 < len(raw.encode()) == failure.raw_size_bytes
    assert raw.startswith(failure.raw_head)
    assert raw.endswith(failure.raw_tail)


def test_lower_priority_number_overtakes_queued_calls(server: TinyServer, client: IRClient) -> None:
    # The urgent call's schema is then in the cache.
    client.generate("Once before.", schema=SHORT)
    with grpc.insecure_channel(server.target) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        ordinary = [
            stub.GenerateIR.future(request(MEDIUM), timeout=300) for _ in range(3 * RUNNING)
        ]
        # All calls are in flight, none is done, and those that cannot run are queued.
        while True:
            activity = client.health().activity
            if activity.calls_in_flight == len(ordinary) and activity.waiting >= 2 * RUNNING:
                break
            assert not any(call.done() for call in ordinary), activity
            time.sleep(0.01)
        urgent = stub.GenerateIR(request(SHORT, priority=-1), timeout=300)
        done = sum(call.done() for call in ordinary)
        for call in ordinary:
            call.cancel()
    assert isinstance(json.loads(urgent.ir_json)["ok"], bool)
    # The urgent call takes the first free place. Only the RUNNING calls that ran before it can be
    # done, and a few more on a slow machine. In order of arrival, it would have waited for
    # 2 * RUNNING + 1 calls.
    assert done <= 2 * RUNNING


def test_sigusr1_turns_readiness_off_while_calls_are_served(
    server: TinyServer, client: IRClient
) -> None:
    server.send(signal.SIGUSR1)
    try:
        _until(lambda: server.health_status("readiness") == NOT_SERVING)
        assert server.health_status("liveness") == SERVING
        assert client.generate("Still there?", schema=SHORT).ir_json
        health = client.health()
        assert health.lame_duck
        assert health.ready
    finally:
        server.send(signal.SIGUSR1)
    _until(lambda: server.health_status("readiness") == SERVING)
    assert not client.health().lame_duck


def test_slow_readers_do_not_delay_other_calls(server: TinyServer, client: IRClient) -> None:
    """Unread streams finish in the engine as fast as others, and no text is lost.

    Each stream has under 2 KB, which every buffer holds. `tests/unit/transport/test_interceptor.py`
    tests the limit of a stream's buffer, with 25 MiB.
    """
    with grpc.insecure_channel(server.target) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        before = _memory(server)
        unread = [
            stub.StreamIR(ir_service_pb2.StreamIRRequest(spec=request(LONG).spec), timeout=600)
            for _ in range(RUNNING - 1)
        ]
        for _ in range(10):
            assert client.generate("Quick.", schema=SHORT, timeout=300).ir_json
        _until(lambda: client.health().activity.running == 0, seconds=400)
        assert _memory(server) - before < 64 * MEBIBYTE
        for stream in unread:
            events = list(stream)
            assert len(json.loads(events[-1].completed.ir_json)["text"]) >= 1500


@pytest.mark.parametrize("kind", ["cancelled", "expired"])
async def test_thousand_abandoned_calls_leave_nothing_behind(server: TinyServer, kind: str) -> None:
    random_delays = random.Random(kind)  # noqa: S311 - delays, not secrets.
    with IRClient(server.target) as client:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub: Any = ir_service_pb2_grpc.IRServiceStub(channel)
            await _abandon(stub, kind, random_delays, 150)
            await asyncio.to_thread(wait_until_idle, client)
            before = _memory(server)
            codes = await _abandon(stub, kind, random_delays, 1000)
            await asyncio.to_thread(wait_until_idle, client)
        wanted = {"cancelled": "CANCELLED", "expired": "DEADLINE_EXCEEDED"}[kind]
        assert set(codes) <= {wanted, "OK", "RESOURCE_EXHAUSTED"}
        assert codes.count(wanted) > 500
        health = client.health()
        assert (health.activity.running, health.activity.waiting) == (0, 0)
        assert health.activity.calls_in_flight == 0
        assert client.generate("Well?", schema=SHORT).ir_json
    assert _memory(server) - before < 150 * MEBIBYTE


def test_sigterm_drains_fifty_calls_and_a_stream(server: TinyServer) -> None:
    processes = server.descendants()
    with (
        ReadinessWatch(server.target) as watch,
        grpc.insecure_channel(server.target) as channel,
        IRClient(server.target, retry=NO_RETRIES, timeout=300) as client,
    ):
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        calls = [stub.GenerateIR.future(request(MEDIUM), timeout=300) for _ in range(50)]
        stream = stub.StreamIR(ir_service_pb2.StreamIRRequest(spec=request(MEDIUM).spec))
        _until(lambda: client.health().activity.calls_in_flight == 51)
        stopped_at = time.monotonic()
        server.send(signal.SIGTERM)
        # Readiness turns off first. Calls are refused later.
        assert watch.not_serving_at(stopped_at) - stopped_at < LAME_DUCK_SECONDS
        assert client.generate("Just in time.", schema=SHORT, priority=-1).ir_json
        _until(lambda: client.health().phase is Phase.DRAINING)
        with pytest.raises(UnavailableError) as refused:
            client.generate("Too late.", schema=SHORT)
        assert refused.value.reason == "DRAINING"
        assert refused.value.retry_delay is not None
        answers = [call.result() for call in calls]
        answers.append(list(stream)[-1].completed)
    assert all(len(json.loads(answer.ir_json)["text"]) >= 350 for answer in answers)
    assert server.wait(60) == 0
    alive = still_running(processes, 5)
    assert not alive


async def _abandon(stub: Any, kind: str, random_delays: random.Random, count: int) -> list[str]:
    """Makes calls that end at random moments by cancellation or deadline. Returns their codes."""
    places = asyncio.Semaphore(PLACES // 2)

    async def one(number: int) -> str:
        async with places:
            moment = random_delays.choice(
                (0.0, random_delays.uniform(0, 0.05), random_delays.uniform(0, 1.0))
            )
            # Every fourth schema is new, so that some calls end while theirs is compiled.
            schema = {**ENDLESS, "title": f"{kind} {number}"} if number % 4 == 0 else ENDLESS
            timeout = max(moment, 0.001) if kind == "expired" else 300
            call = stub.GenerateIR(request(schema), timeout=timeout)
            if kind == "cancelled":
                await asyncio.sleep(moment)
                call.cancel()
            code = await call.code()
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                assert await rpc_status.aio.from_call(call) is not None
            return str(code.name)

    return list(await asyncio.gather(*map(one, range(count))))


def _memory(server: TinyServer) -> int:
    everything = [psutil.Process(server.process.pid), *server.descendants()]
    return sum(process.memory_info().rss for process in everything)


def _until(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
