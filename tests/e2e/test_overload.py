"""More than a server can do: it is answered, nobody else suffers, and nothing stays behind.

One server on the tiny model for the whole file; the last test stops it with 50 calls in flight.
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
from bench.support.streams import streams
from bench.support.tiny_server import ENDLESS, NO_RETRIES, SHORT, TinyServer, text_schema
from genir import IRClient, UnavailableError
from genir.types import Phase
from genir.v1 import ir_service_pb2, ir_service_pb2_grpc
from tests.support.calls import refusal_from, spec, wait_until_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = 64
RUNNING = 8
LAME_DUCK_SECONDS = 2.0
MEBIBYTE = 1 << 20
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
MIDDLING = text_schema(550, 600)
LONG = text_schema(3000, 3400)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    process = TinyServer(
        tmp_path_factory.mktemp("overload"),
        "--max-concurrent-calls",
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


def test_what_does_not_fit_is_answered_at_once_and_health_goes_on(
    server: TinyServer, client: IRClient
) -> None:
    client.generate("So that the pace is known.", schema=SHORT)
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

        # Neither kind of health check stands in the queue.
        assert server.health_status("readiness") == SERVING
        deep = client.health(deep=True, timeout=60)
        assert deep.ir_json
        for call in filling:
            call.cancel()


def test_a_long_failed_text_travels_whole_and_its_status_stays_small(server: TinyServer) -> None:
    """Of a text that no metadata could carry."""
    # The embedded model would write it for minutes.
    asked = ir_service_pb2.StreamIRRequest(spec=request(ENDLESS, max_tokens=1300).spec)
    texts: list[str] = []
    with grpc.insecure_channel(server.target) as channel:
        stream = ir_service_pb2_grpc.IRServiceStub(channel).StreamIR(asked, timeout=300)
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


def test_a_lower_number_overtakes_those_who_wait(server: TinyServer, client: IRClient) -> None:
    # So that compiling its schema does not hold the urgent call up.
    client.generate("Once before.", schema=SHORT)
    with grpc.insecure_channel(server.target) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        ordinary = [
            stub.GenerateIR.future(request(MIDDLING), timeout=300) for _ in range(3 * RUNNING)
        ]
        # All are in the house, none is done, and all that cannot run wait.
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
    # By priority it takes the first place that is left, and is done long before whoever takes a
    # later one: of the ordinary calls only those that ran already, RUNNING, can be done, and some
    # more if the machine dawdles between the look and the call. In the order of arrival it would
    # have waited for 2 * RUNNING + 1 to leave.
    assert done <= 2 * RUNNING


def test_readiness_can_be_turned_off_while_calls_are_answered(
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


def test_a_reader_that_does_not_read_holds_nobody_up(server: TinyServer, client: IRClient) -> None:
    """Streams that nobody reads leave the engine as fast as others, and nothing of them is lost.

    Of what a stream may hold this shows nothing: the tiny model writes some 3 KB for each, which
    any buffer takes, and memory is looked at for leaks alone. The bound is shown with 25 MiB, in
    `tests/unit/transport/test_interceptor.py`.
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
            assert len(json.loads(events[-1].completed.ir_json)["text"]) >= 3000


@pytest.mark.parametrize("kind", ["cancelled", "expired"])
async def test_a_thousand_that_leave_take_everything_along(server: TinyServer, kind: str) -> None:
    dice = random.Random(kind)  # noqa: S311 - moments, not secrets.
    with IRClient(server.target) as client:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub: Any = ir_service_pb2_grpc.IRServiceStub(channel)
            await _leave(stub, kind, dice, 150)
            await asyncio.to_thread(wait_until_idle, client)
            before = _memory(server)
            codes = await _leave(stub, kind, dice, 1000)
            await asyncio.to_thread(wait_until_idle, client)
        wanted = {"cancelled": "CANCELLED", "expired": "DEADLINE_EXCEEDED"}[kind]
        assert set(codes) <= {wanted, "OK", "RESOURCE_EXHAUSTED"}
        assert codes.count(wanted) > 500
        health = client.health()
        assert (health.activity.running, health.activity.waiting) == (0, 0)
        assert health.activity.calls_in_flight == 0
        assert client.generate("Well?", schema=SHORT).ir_json
    assert _memory(server) - before < 150 * MEBIBYTE


def test_fifty_calls_in_flight_all_finish_when_the_server_is_stopped(server: TinyServer) -> None:
    processes = server.descendants()
    with (
        ReadinessWatch(server.target) as watch,
        grpc.insecure_channel(server.target) as channel,
        IRClient(server.target, retry=NO_RETRIES, timeout=300) as client,
    ):
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        calls = [stub.GenerateIR.future(request(MIDDLING), timeout=300) for _ in range(50)]
        _until(lambda: client.health().activity.calls_in_flight == 50)
        stopped_at = time.monotonic()
        server.send(signal.SIGTERM)
        # First readiness alone is off, then calls are refused.
        assert watch.not_serving_at(stopped_at) - stopped_at < LAME_DUCK_SECONDS
        assert client.generate("Just in time.", schema=SHORT, priority=-1).ir_json
        _until(lambda: client.health().phase is Phase.DRAINING)
        with pytest.raises(UnavailableError) as refused:
            client.generate("Too late.", schema=SHORT)
        assert refused.value.reason == "DRAINING"
        assert refused.value.retry_delay is not None
        answers = [call.result() for call in calls]
    assert all(len(json.loads(answer.ir_json)["text"]) >= 550 for answer in answers)
    assert server.wait(60) == 0
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive


def test_a_second_signal_ends_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = TinyServer(tmp_path_factory.mktemp("twice"), "--drain-timeout", "300")
    try:
        server.wait_ready()
        processes = server.descendants()
        with streams(server.target, 2) as running:
            server.send(signal.SIGTERM)
            with IRClient(server.target) as client:
                _until(lambda: client.health().phase is Phase.DRAINING)
            server.send(signal.SIGTERM)
            assert server.wait(5) == 128 + signal.SIGTERM
        assert not any(stream.completed for stream in running)
        _, alive = psutil.wait_procs(processes, timeout=5)
        assert not alive
    finally:
        server.close()


async def _leave(stub: Any, kind: str, dice: random.Random, count: int) -> list[str]:
    """Makes calls that leave at random moments; gives their codes."""
    places = asyncio.Semaphore(PLACES // 2)

    async def one(number: int) -> str:
        async with places:
            moment = dice.choice((0.0, dice.uniform(0, 0.05), dice.uniform(0, 1.0)))
            # Every fourth has a schema of its own, so that compiling is among the moments.
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
