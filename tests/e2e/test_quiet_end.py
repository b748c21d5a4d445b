"""A server that is told to stop ends without an error in its log, whatever it does meanwhile."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.support.tiny_server import ENDLESS, NO_RETRIES, TinyServer
from genir import GenirError, IRClient
from genir.types import TextDelta

if TYPE_CHECKING:
    from pathlib import Path

END_SECONDS = 30.0
"""Much longer than an end takes, as this machine may be busy."""
WATCHED = ("", "readiness", "liveness")


def assert_quiet_end(server: TinyServer) -> None:
    assert server.wait(END_SECONDS) == 0
    log = server.log
    assert "Traceback" not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert lines[-1]["event"] == "stopped"


def test_idle_with_open_connections(tmp_path: Path) -> None:
    server = TinyServer(tmp_path, "--health-port", "0", "--metrics-port", "0")
    try:
        server.wait_ready()
        health_port = server.log_lines("listening for health")[0]["port"]
        with (
            grpc.insecure_channel(server.target) as channel,
            grpc.insecure_channel(f"127.0.0.1:{health_port}") as probes,
            IRClient(server.target) as idle,
        ):
            assert idle.health().ready
            watches: list[Any] = []
            for each in (channel, probes):
                stub: Any = health_pb2_grpc.HealthStub(each)
                watches += [
                    stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=600)
                    for name in WATCHED
                ]
            for watch in watches:
                assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            server.send(signal.SIGTERM)
            assert_quiet_end(server)
    finally:
        server.close()


def test_while_the_model_loads(tmp_path: Path) -> None:
    server = TinyServer(tmp_path)
    try:
        server.send(signal.SIGTERM)
        assert_quiet_end(server)
    finally:
        server.close()


def test_with_a_stream_that_outlasts_the_drain(tmp_path: Path) -> None:
    server = TinyServer(tmp_path, "--drain-timeout", "0.5")
    try:
        server.wait_ready()
        with (
            IRClient(server.target, retry=NO_RETRIES) as client,
            client.stream("Write.", schema=ENDLESS, max_tokens=3500) as events,
        ):
            iterator = iter(events)
            while not isinstance(next(iterator), TextDelta):
                pass
            server.send(signal.SIGTERM)
            with pytest.raises(GenirError) as cut_off:
                list(iterator)
        assert cut_off.value.reason == "DRAINING"
        assert_quiet_end(server)
    finally:
        server.close()
