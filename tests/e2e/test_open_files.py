"""A server process with few file descriptors and more connections than they allow."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.support.tiny_server import NO_RETRIES
from genir import IRClient, OverloadedError
from tests.support.http2 import RawCaller
from tests.support.scripted_server import SCHEMA, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN_FILES = 256
CONNECTIONS = 350
MAX_LOST_WORKERS = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedServer]:
    process = ScriptedServer(
        tmp_path_factory.mktemp("few-files"),
        *("--health-port", "0", "--metrics-port", "0"),
        open_files=OPEN_FILES,
    )
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


def port_of(server: ScriptedServer, event: str) -> int:
    [line] = server.log_lines(event)
    return int(line["port"])


def is_alive(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="liveness")
        # The server may not have noticed yet that the connections of a flood are closed.
        answer = stub.Check(request, timeout=20, wait_for_ready=True)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize("flooded", ["listening", "listening for health"])
def test_more_connections_than_files_harm_no_open_connection(
    server: ScriptedServer, flooded: str
) -> None:
    process = psutil.Process(server.process.pid)
    other = {"listening", "listening for health"} - {flooded}
    with (
        IRClient(server.target, retry=NO_RETRIES, timeout=60) as client,
        contextlib.ExitStack() as stack,
    ):
        client.generate("Write.", schema=SCHEMA)
        callers = []
        for _ in range(CONNECTIONS):
            caller = stack.enter_context(RawCaller(f"127.0.0.1:{port_of(server, flooded)}"))
            caller.events(0.01)
            callers.append(caller)
        for caller in callers:
            caller.events(0.01)
        kept = sum(not caller.closed for caller in callers)
        assert 0 < kept < OPEN_FILES / 2
        assert process.num_fds() < OPEN_FILES - 32
        # Each new schema is work for a worker, and a lost worker is replaced.
        for number in range(4):
            worker = process.children()[number % 2]
            worker.kill()
            maximum = 1000 + number + 10 * (flooded == "listening")
            schema = SCHEMA.replace('"integer"', f'"integer","maximum":{maximum}')
            # A call that gets a lost worker is refused, and there may be several of these.
            for _ in range(MAX_LOST_WORKERS):
                with contextlib.suppress(OverloadedError):
                    assert client.generate("Write.", schema=schema).value == {"a": 1}
                    break
            else:
                raise AssertionError("no worker was replaced")
        if flooded == "listening":
            assert is_alive(port_of(server, *other))
    assert is_alive(port_of(server, "listening"))
    assert "INTERNAL" not in server.log
    assert "Traceback" not in server.log


def test_limit_that_does_not_fit_is_refused() -> None:
    command = 'ulimit -n 256; exec "$0" -m genir_server --port 0 --max-connections 350'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("genir serve: the limit of open files is 256, but 350 connections need")
