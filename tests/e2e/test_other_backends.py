"""Servers with other structured-output backends: the same responses, and adapters and priorities.

The last tests end the two servers: one by a second signal, one by the loss of its engine.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from bench.support.health_watch import HealthWatch
from bench.support.server_process import still_running
from bench.support.streams import streams
from bench.support.tiny_model import make_tiny_adapter
from bench.support.tiny_server import TinyServer, text_schema
from genir import AsyncIRClient, IRClient
from genir.types import Phase
from genir.v1 import ir_service_pb2_grpc
from genir_server.engine.cpu_fork.forked_worker import FORKED
from genir_server.engine.cpu_fork.worker_environment import predicted_environment
from tests.support.calls import SMALL_SCHEMA, generate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from genir.v1 import ir_service_pb2

MAX_NOTICE_SECONDS = 3.0
"""Three times what is promised, for a busy machine. `make bench-reliability` checks the promise."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TEXT = text_schema(20, 40)
LONG = text_schema(900, 1000)


def start(folder: Path, backend: str, *arguments: str) -> TinyServer:
    return TinyServer(
        folder, *("--served-model-name", "tiny", "--structured-output-backend", backend), *arguments
    )


@pytest.fixture(scope="module")
def xgrammar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    folder = tmp_path_factory.mktemp("xgrammar")
    server = start(
        folder,
        "xgrammar",
        # vLLM has room for one adapter of rank 16, unless it is told otherwise.
        *("--lora-adapters", f"noise={make_tiny_adapter(folder / 'noise')}"),
        *("--lora-adapters", f"large={make_tiny_adapter(folder / 'large', rank=32)}"),
        # One sequence at a time, so that calls queue.
        *("--engine-args", "max_num_seqs=1"),
        *("--drain-timeout", "300"),
    )
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    server = start(tmp_path_factory.mktemp("auto"), "auto", "--on-engine-death", "exit")
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(params=["xgrammar", "auto"])
def backend(request: pytest.FixtureRequest) -> tuple[str, TinyServer]:
    """The configured backend and its server."""
    return request.param, request.getfixturevalue(request.param)


UNFIT_FOR_XGRAMMAR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": 12},
        "step": {"type": "integer", "minimum": 6, "maximum": 8, "multipleOf": 2},
    },
    "required": ["name", "step"],
    "additionalProperties": False,
}
"""vLLM refuses this schema for xgrammar: it has a length beside a pattern, and multipleOf."""


def _shape(answer: ir_service_pb2.GenerateIRResponse) -> set[str]:
    return {field.name for field, _ in answer.ListFields()}


def test_response_has_the_same_fields_and_names_the_backend(
    backend: tuple[str, TinyServer], stub: ir_service_pb2_grpc.IRServiceStub
) -> None:
    configured, server = backend
    with grpc.insecure_channel(server.target) as channel, IRClient(server.target) as client:
        other = ir_service_pb2_grpc.IRServiceStub(channel)
        answer = generate(other, "Name a thing.", schema=SMALL_SCHEMA)
        used = answer.structured_output_backend
        assert used == configured or (configured == "auto" and used in {"guidance", "xgrammar"})
        ir = json.loads(answer.ir_json)
        assert ir.keys() == {"name", "kind"}
        # The same fields as with guidance.
        assert _shape(answer) == _shape(generate(stub, "Name a thing.", schema=SMALL_SCHEMA))
        health = client.health(deep=True)
        assert health.configured_structured_output_backend == configured
        assert health.structured_output_backend == used
        assert health.ir_json


@pytest.mark.parametrize("adapter", ["noise", "large"])
def test_adapter_changes_the_output(xgrammar: TinyServer, adapter: str) -> None:
    with IRClient(xgrammar.target, timeout=300) as client:
        assert client.health().lora_adapters == ("large", "noise")
        options: dict[str, Any] = {
            "schema": TEXT,
            "temperature": 0,
            "schema_in_prompt": "never",
        }
        plain = client.generate("Hello.", **options)
        adapted = client.generate("Hello.", lora_adapter=adapter, **options)
        assert (plain.lora_adapter, adapted.lora_adapter) == ("", adapter)
        assert plain.ir_json != adapted.ir_json
        assert plain.ir_json == client.generate("Hello.", **options).ir_json


async def test_lower_priority_number_runs_first(
    xgrammar: TinyServer,
) -> None:
    finished: list[str] = []
    async with AsyncIRClient(xgrammar.target, timeout=300) as client:

        async def call(name: str, priority: int, schema: dict[str, Any] = TEXT) -> None:
            await client.generate("Write.", schema=schema, priority=priority, temperature=0)
            finished.append(name)

        async with asyncio.TaskGroup() as calls:
            calls.create_task(call("running", -1000, LONG))
            while not (await client.health()).activity.running:  # noqa: ASYNC110 - no event for it.
                await asyncio.sleep(0.01)
            calls.create_task(call("last", 5))
            calls.create_task(call("middle", 0))
            calls.create_task(call("first", -5))
    assert finished == ["running", "first", "middle", "last"]


def test_schema_that_xgrammar_cannot_enforce_is_accepted(
    backend: tuple[str, TinyServer],
) -> None:
    _, server = backend
    with IRClient(server.target) as client:
        # Two of the three numbers are multiples, and the tiny model picks at random.
        answer = client.generate("Name a thing.", schema=UNFIT_FOR_XGRAMMAR, max_attempts=5)
        ir = json.loads(answer.ir_json)
        assert len(ir["name"]) <= 12
        assert ir["step"] in (6, 8)
        (notice,) = answer.schema_notices
        assert (notice.keyword, notice.pointer) == ("multipleOf", "/properties/step")


def test_second_signal_ends_the_server_at_once(xgrammar: TinyServer) -> None:
    processes = xgrammar.descendants()
    with streams(xgrammar.target, 1) as running:
        xgrammar.send(signal.SIGTERM)
        with IRClient(xgrammar.target) as client:
            deadline = time.monotonic() + 30
            while client.health().phase is not Phase.DRAINING:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        xgrammar.send(signal.SIGTERM)
        assert xgrammar.wait(5) == 128 + signal.SIGTERM
    assert not any(stream.completed for stream in running)
    alive = still_running(processes, 5)
    assert not alive


def test_server_exits_on_engine_death_if_configured(auto: TinyServer) -> None:
    everything = auto.descendants()
    worker = auto.engine_process("Worker")
    # The fork server has to end too.
    assert auto.engine_process("EngineCore").ppid() != auto.process.pid
    if predicted_environment() and sys.version_info < (3, 14):
        assert auto.log_lines(FORKED)
    with HealthWatch(auto.target, "liveness") as liveness:
        with streams(auto.target, 4) as running:
            assert [status for _, status in liveness.seen] == [SERVING]
            killed_at = time.monotonic()
            worker.kill()
        assert auto.wait(30) == 5
        assert liveness.not_serving_at(killed_at) - killed_at < MAX_NOTICE_SECONDS
    # Reported once and never withdrawn.
    assert [status for _, status in liveness.seen] == [SERVING, NOT_SERVING]
    for stream in running:
        assert stream.error is not None
        assert stream.error.reason == "ENGINE_DEAD"
        assert stream.ended_at - killed_at < MAX_NOTICE_SECONDS
    left = still_running(everything, 5)
    assert not left
    assert [line for line in auto.log.splitlines() if '"cannot go on"' in line]
