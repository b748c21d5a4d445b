"""Two data-parallel ranks in one server, and what follows when one of its processes is lost."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.support.server_process import READY_SECONDS, still_running
from bench.support.streams import streams
from bench.support.tiny_server import ENDLESS, SHORT, TinyServer
from genir import IRClient
from tests.support.cpu_binding import bound_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

STALL_SECONDS = 10.0
SEQUENCES_PER_RANK = 3
LONG: dict[str, Any] = {
    "schema": {"type": "array", "items": ENDLESS, "minItems": 20, "maxItems": 20},
    "max_tokens": 3900,
}
NOTICE_SECONDS = 20.0
"""Several times what is promised: two ranks and the tests share few processors."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    process = TinyServer(
        tmp_path_factory.mktemp("ranks"),
        *("--engine-args", "data_parallel_size=2"),
        *("--engine-args", f"max_num_seqs={SEQUENCES_PER_RANK}"),
        *("--engine-stall-timeout", str(STALL_SECONDS)),
        *("--metrics-port", "0"),
        environment={"VLLM_CPU_OMP_THREADS_BIND": bound_cpus(2)},
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


def engine_cores(server: TinyServer) -> list[psutil.Process]:
    cores = [each for each in server.descendants() if "EngineCore" in each.name()]
    assert len(cores) == 2
    return cores


def coordinator(server: TinyServer) -> psutil.Process:
    (process,) = (each for each in server.descendants() if each.name().startswith("VLLM::DPC"))
    return process


def assert_replaced(server: TinyServer, engine: list[psutil.Process]) -> None:
    """Both ranks of a new engine work and no process of the old one is left."""
    with IRClient(server.target) as client:
        client.wait_ready(READY_SECONDS)
        health = client.health(deep=True)
        assert [rank.structured_output_backend for rank in health.engines] == ["guidance"] * 2
        assert isinstance(json.loads(client.generate("Again?", schema=SHORT).ir_json)["ok"], bool)
    left = still_running(engine, 10)
    assert not left


def wait_lost(server: TinyServer, since: float, seconds: float) -> None:
    """Waits until the server has lost its engine, but no longer than that after `since`."""
    with IRClient(server.target) as client:
        while client.health().ready:
            assert time.monotonic() - since < seconds
            time.sleep(0.1)


def test_canary_proves_the_backend_of_every_rank(client: IRClient) -> None:
    health = client.health(deep=True)
    assert [rank.rank for rank in health.engines] == [0, 1]
    for rank in health.engines:
        assert rank.structured_output_backend == "guidance"
        assert rank.last_step_time is not None
    assert health.structured_output_backend == "guidance"


def test_calls_use_the_places_of_all_ranks(server: TinyServer, client: IRClient) -> None:
    # One place less than the ranks have is for health checks.
    places = 2 * SEQUENCES_PER_RANK - 1
    with streams(server.target, places, **{**LONG, "max_tokens": 1_000}):
        deadline = time.monotonic() + NOTICE_SECONDS
        while (health := client.health()).activity.running < places:
            assert time.monotonic() < deadline, health.activity
            time.sleep(0.1)
        assert sorted(rank.running for rank in health.engines) == [2, 3]
        assert all(rank.kv_cache_usage > 0 for rank in health.engines)
        assert metric(server, "genir_engine_requests_running") == {
            str(rank.rank): float(rank.running) for rank in health.engines
        }


def metric(server: TinyServer, name: str) -> dict[str, float]:
    """The samples of a metric by rank."""
    port = server.log_lines("serving metrics")[-1]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        sample.labels["rank"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_stopped_rank_is_noticed_although_the_other_works(server: TinyServer) -> None:
    everything = [*engine_cores(server), coordinator(server)]
    with streams(server.target, 2, **LONG):
        stopped_at = time.monotonic()
        everything[1].send_signal(signal.SIGSTOP)
        wait_lost(server, stopped_at, 1.25 * STALL_SECONDS + NOTICE_SECONDS)
        assert time.monotonic() - stopped_at > STALL_SECONDS / 2
    (loss,) = server.log_lines("engine lost")[-1:]
    assert loss["detail"].startswith("Rank "), loss
    assert_replaced(server, everything)


def test_killed_coordinator_ends_the_engine(server: TinyServer) -> None:
    leader = coordinator(server)
    everything = [*engine_cores(server), leader]
    killed_at = time.monotonic()
    leader.kill()
    wait_lost(server, killed_at, NOTICE_SECONDS)
    assert_replaced(server, everything)


def test_killed_server_leaves_no_process(server: TinyServer) -> None:
    everything = server.descendants()
    assert coordinator(server) in everything
    server.process.kill()
    left = still_running(everything, 10)
    assert not left
