"""A killed or stopped engine ends every call and is replaced. The last test kills the server."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from bench.support.health_watch import ReadinessWatch
from bench.support.server_process import READY_SECONDS, still_running
from bench.support.streams import streams
from bench.support.tiny_server import ENDLESS, NO_RETRIES, SHORT, TinyServer
from genir import IRClient, UnavailableError
from genir.types import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

STALL_SECONDS = 6.0
LONG: dict[str, Any] = {
    "schema": {"type": "array", "items": ENDLESS, "minItems": 20, "maxItems": 20},
    "max_tokens": 3900,
}
"""Keeps the tiny model busy for longer than a busy machine needs to start the streams."""
MAX_NOTICE_SECONDS = 3.0
"""Three times what is promised, for a busy machine. `make bench-reliability` checks the promise."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    process = TinyServer(
        tmp_path_factory.mktemp("loss"),
        "--engine-stall-timeout",
        str(STALL_SECONDS),
    )
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


def assert_engine_replaced(server: TinyServer, engine: list[psutil.Process]) -> None:
    """A new engine works and no process of the old one is left."""
    with IRClient(server.target, retry=NO_RETRIES) as client:
        with pytest.raises(UnavailableError) as meanwhile:
            client.generate("Too early.", schema=SHORT)
        assert meanwhile.value.reason == "ENGINE_DEAD"
        assert meanwhile.value.retry_delay is not None
        assert client.health().phase is Phase.RESTARTING
        assert server.health_status("liveness") == SERVING
        client.wait_ready(READY_SECONDS)
        assert isinstance(json.loads(client.generate("Again?", schema=SHORT).ir_json)["ok"], bool)
    left = still_running(engine, 5)
    assert not left
    assert server.health_status("readiness") == SERVING


def engine_of(server: TinyServer) -> list[psutil.Process]:
    return [server.engine_process("EngineCore"), server.engine_process("Worker")]


def test_log_names_the_applied_patches(server: TinyServer) -> None:
    (applied,) = re.findall("patches applied: ([^;]*); not applied: ", server.log)
    assert "concurrent accept" in applied
    assert "grammar cache" in applied
    assert "forced texts" in applied
    assert "quick end" in applied


def test_killed_engine_ends_every_call_and_is_replaced(server: TinyServer) -> None:
    engine = engine_of(server)
    fork_server = engine[0].parent()
    with ReadinessWatch(server.target) as watch, streams(server.target, 8, **LONG) as running:
        seen = [len(stream.text) for stream in running]
        killed_at = time.monotonic()
        engine[0].kill()
        assert watch.not_serving_at(killed_at) - killed_at < MAX_NOTICE_SECONDS
    for stream, length in zip(running, seen, strict=True):
        assert stream.error is not None
        assert stream.error.reason == "ENGINE_DEAD"
        assert stream.error.code is grpc.StatusCode.UNAVAILABLE
        assert stream.ended_at - killed_at < MAX_NOTICE_SECONDS
        assert len(stream.text) >= length > 0
    assert_engine_replaced(server, engine)
    # The new engine was forked from the same fork server.
    assert fork_server is not None
    assert fork_server.pid != server.process.pid
    assert engine_of(server)[0].parent() == fork_server


def test_stopped_worker_is_detected_and_replaced(server: TinyServer) -> None:
    engine = engine_of(server)
    with ReadinessWatch(server.target) as watch, streams(server.target, 2, **LONG) as running:
        assert not any(stream.ended_at for stream in running)
        stopped_at = time.monotonic()
        engine[1].send_signal(signal.SIGSTOP)
        with IRClient(server.target) as client:
            while "the engine has made no progress" not in (health := client.health()).message:
                assert time.monotonic() - stopped_at < STALL_SECONDS, health
                time.sleep(0.2)
        lost_at = watch.not_serving_at(stopped_at + STALL_SECONDS / 2)
        assert STALL_SECONDS - 1 < lost_at - stopped_at < STALL_SECONDS + 2
    for stream in running:
        assert stream.error is not None
        assert stream.error.reason == "ENGINE_DEAD"
        assert stream.ended_at - lost_at < MAX_NOTICE_SECONDS
    assert_engine_replaced(server, engine)


def test_engine_that_stops_while_idle_is_detected(
    server: TinyServer,
) -> None:
    engine = engine_of(server)
    with ReadinessWatch(server.target) as watch:
        stopped_at = time.monotonic()
        engine[0].send_signal(signal.SIGSTOP)
        # The server probes an idle engine every quarter of the timeout.
        deadline = stopped_at + 1.25 * STALL_SECONDS + MAX_NOTICE_SECONDS
        while server.health_status("readiness") == SERVING:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert watch.not_serving_at(stopped_at)
    assert_engine_replaced(server, engine)


def test_killed_server_leaves_no_engine_process(server: TinyServer) -> None:
    everything = server.descendants()
    assert set(engine_of(server)) < set(everything)
    server.process.kill()
    left = still_running(everything, 10)
    assert not left
