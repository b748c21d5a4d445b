"""A model over two processes: answers, the loss of one of the two, and the end of the server."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bench.support.server_process import READY_SECONDS, still_running
from bench.support.streams import streams
from bench.support.tiny_server import ENDLESS, SHORT, TinyServer, text_schema
from genir import IRClient
from genir.types import AttemptStarted, Completed, TextDelta
from tests.support.cpu_binding import bound_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from genir.types import ServerHealth

SIZE = 2
LONG: dict[str, Any] = {
    "schema": {"type": "array", "items": ENDLESS, "minItems": 20, "maxItems": 20},
    "max_tokens": 3900,
}
NOTICE_SECONDS = 20.0
"""Several times what is promised: two workers and the tests share few processors."""
STOP_SECONDS = 30.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    process = TinyServer(
        tmp_path_factory.mktemp("tensor-parallel"),
        *("--engine-args", f"tensor_parallel_size={SIZE}"),
        environment={"VLLM_CPU_OMP_THREADS_BIND": bound_cpus(SIZE)},
    )
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


@pytest.fixture
def client(server: TinyServer) -> Iterator[IRClient]:
    with IRClient(server.target) as client:
        yield client


def engine_of(server: TinyServer) -> list[psutil.Process]:
    """The engine core and its workers, in the order of their ranks."""
    names = ["EngineCore", *(f"Worker_TP{rank}" for rank in range(SIZE))]
    return [server.engine_process(name) for name in names]


def shared_memory_of(processes: list[psutil.Process]) -> set[Path]:
    """The files in /dev/shm that these processes have mapped and that have a name there."""
    mapped = (Path(each.path) for process in processes for each in process.memory_maps())
    return {path for path in mapped if path.parent == SHARED_MEMORY and path.exists()}


def proven(health: ServerHealth) -> list[tuple[int, str]]:
    """The ranks of the engine, each with the backend that it has reported."""
    return [(rank.rank, rank.structured_output_backend) for rank in health.engines]


def test_two_workers_are_one_rank_with_a_proven_backend(
    server: TinyServer, client: IRClient
) -> None:
    assert len(engine_of(server)) == 1 + SIZE
    health = client.health(deep=True)
    assert health.ready
    assert proven(health) == [(0, "guidance")]
    assert health.structured_output_backend == "guidance"


def test_answers_and_streams(client: IRClient) -> None:
    answer = client.generate("Yes or no?", schema=SHORT)
    assert isinstance(json.loads(answer.ir_json)["ok"], bool)
    with client.stream("Write.", schema=text_schema(40, 60), max_tokens=300) as events:
        for event in events:
            if isinstance(event, AttemptStarted):
                written = ""
            elif isinstance(event, TextDelta):
                written += event.text
    assert isinstance(event, Completed)
    assert json.loads(written) == json.loads(event.result.ir_json)
    assert 40 <= len(json.loads(written)["text"]) <= 60


def test_killed_worker_ends_every_call_and_the_engine_is_replaced(
    server: TinyServer, client: IRClient
) -> None:
    engine = engine_of(server)
    shared = shared_memory_of(engine)
    assert shared
    with streams(server.target, 2, **LONG) as running:
        killed_at = time.monotonic()
        engine[-1].kill()
    for stream in running:
        assert stream.error is not None
        assert stream.error.reason == "ENGINE_DEAD"
        assert stream.error.code is grpc.StatusCode.UNAVAILABLE
        assert stream.ended_at - killed_at < NOTICE_SECONDS
    client.wait_ready(READY_SECONDS)
    assert proven(client.health(deep=True)) == [(0, "guidance")]
    assert isinstance(json.loads(client.generate("Again?", schema=SHORT).ir_json)["ok"], bool)
    left = still_running(engine, 10)
    assert not left
    assert not [path for path in shared if path.exists()]


def test_sigterm_leaves_no_process(server: TinyServer) -> None:
    everything = server.descendants()
    assert set(engine_of(server)) < set(everything)
    server.send(signal.SIGTERM)
    assert server.wait(STOP_SECONDS) == 0
    left = still_running(everything, 10)
    assert not left
