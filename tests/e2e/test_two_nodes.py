"""A model over two nodes: `genir serve` on one and `genir node` on the other, both on this machine.

The first two tests run in this order. The engine core and the first worker are the server's, the
second worker is the node's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from bench.support.server_process import still_running
from bench.support.streams import streams
from bench.support.tiny_model import make_tiny_model
from bench.support.tiny_server import SHORT, TinyServer
from genir import IRClient
from tests.support.cpu_binding import bound_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BINDING = "VLLM_CPU_OMP_THREADS_BIND"
STALL_SECONDS = 15.0
END_SECONDS = 60.0
NOTICE_SECONDS = 20.0
"""Several times what is promised: two workers and the tests share few processors."""


class Nodes:
    """A server on the first node, and the process of the second one."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        parallel = (
            "tensor_parallel_size=2",
            "nnodes=2",
            "master_addr=127.0.0.1",
            f"master_port={port}",
        )
        arguments = [part for each in parallel for part in ("--engine-args", each)]
        cpus = bound_cpus(2).split("|")
        self._node_log = folder / "node.log"
        command = [sys.executable, "-m", "genir.cli", "node", "--log-format", "json"]
        own = ["--model", str(make_tiny_model()), "--max-model-len", "4096"]
        cache = ["--engine-args", f"kv_cache_memory_bytes={128 << 20}"]
        with self._node_log.open("wb") as log:
            self.node = subprocess.Popen(
                [*command, *own, *cache, *arguments, "--engine-args", "node_rank=1"],
                stdout=log,
                stderr=log,
                env=os.environ | {BINDING: cpus[1]},
            )
        try:
            self.server = TinyServer(
                folder,
                *(*arguments, "--engine-args", "node_rank=0"),
                *("--on-engine-death", "exit"),
                *("--engine-stall-timeout", str(STALL_SECONDS)),
                environment={BINDING: cpus[0]},
            )
        except BaseException:
            self.node.kill()
            raise

    @property
    def node_log(self) -> str:
        """The log of the second node so far."""
        return self._node_log.read_text()

    def close(self) -> None:
        """Ends every process."""
        self.server.close()
        if self.node.poll() is None:
            self.node.kill()
        self.node.wait()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    running = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        running.server.wait_ready()
        yield running
    finally:
        running.close()


def processes_of(pid: int) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return children


def test_both_nodes_answer_together(nodes: Nodes) -> None:
    names = [process.name() for process in processes_of(nodes.node.pid)]
    assert "VLLM::Worker_TP1" in names
    assert "VLLM::EngineCore" not in names
    assert "VLLM::Worker_TP0" in [each.name() for each in nodes.server.descendants()]
    with IRClient(nodes.server.target) as client:
        health = client.health(deep=True)
        ranks = [(rank.rank, rank.structured_output_backend) for rank in health.engines]
        assert ranks == [(0, "guidance")]
        assert isinstance(json.loads(client.generate("Well?", schema=SHORT).ir_json)["ok"], bool)


def test_stopped_worker_of_an_idle_node_ends_both(nodes: Nodes) -> None:
    everything = [*processes_of(nodes.node.pid), *nodes.server.descendants()]
    (worker,) = (each for each in everything if each.name() == "VLLM::Worker_TP1")
    worker.send_signal(signal.SIGSTOP)
    assert nodes.server.wait(1.25 * STALL_SECONDS + END_SECONDS) == 5
    (loss,) = nodes.server.log_lines("engine lost")
    assert "no progress" in loss["detail"]
    # The first node's worker has ended with its engine, and the node with it.
    assert nodes.node.wait(END_SECONDS) == 5
    assert "the first node, 127.0.0.1:" in nodes.node_log
    left = still_running(everything, END_SECONDS)
    assert not left


def test_node_killed_during_calls_ends_them_and_the_server(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    try:
        nodes.server.wait_ready()
        everything = [*processes_of(nodes.node.pid), *nodes.server.descendants()]
        with streams(nodes.server.target, 2) as running:
            killed_at = time.monotonic()
            nodes.node.kill()
        for stream in running:
            assert stream.error is not None
            assert stream.error.reason == "ENGINE_DEAD"
            assert stream.error.code is grpc.StatusCode.UNAVAILABLE
            assert stream.ended_at - killed_at < NOTICE_SECONDS
        assert nodes.server.wait(END_SECONDS) == 5
        (loss,) = nodes.server.log_lines("engine lost")
        assert not loss["will_restart"]
        left = still_running(everything, END_SECONDS)
        assert not left
    finally:
        nodes.close()
