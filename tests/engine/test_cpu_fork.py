"""The fork server and forked workers: used only if a worker would start in the same environment."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from genir_server.engine.cpu_fork.worker_environment import predicted_environment, start_environment

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")

_NAMES = {
    "LD_PRELOAD",
    "OMP_NUM_THREADS",
    "GOMP_CPU_AFFINITY",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TORCHINDUCTOR_CPP_DYNAMIC_THREADS",
}


@pytest.fixture(autouse=True)
def _default_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # An engine that was started in this process has set them.
    for name in ("LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU"):
        monkeypatch.delenv(name, raising=False)


def test_only_variables_that_count_at_program_start_are_compared() -> None:
    environment = {"OMP_NUM_THREADS": "2", "HOME": "/", "TORCH_LOGS": "x", "VLLM_OMP_": "1"}
    assert start_environment(environment) == {"OMP_NUM_THREADS": "2", "TORCH_LOGS": "x"}


def test_predicted_cpus_exclude_the_reserved_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    predicted = predicted_environment()
    if not predicted:
        pytest.skip("several memory nodes, or an unsupported processor")
    assert set(predicted) == _NAMES
    cpus = set(map(int, predicted["GOMP_CPU_AFFINITY"].split()))
    assert cpus <= os.sched_getaffinity(0)
    assert int(predicted["OMP_NUM_THREADS"]) == len(cpus)
    for library in predicted["LD_PRELOAD"].split(":"):
        assert Path(library).exists()
    # A library that is preloaded already is not added again.
    monkeypatch.setenv("LD_PRELOAD", predicted["LD_PRELOAD"])
    assert predicted_environment() == predicted
    if len(cpus) > 1:
        monkeypatch.delenv("VLLM_CPU_NUM_OF_RESERVED_CPU")
        assert int(predicted_environment()["OMP_NUM_THREADS"]) == len(cpus) - 1


@pytest.mark.parametrize(
    ("name", "value"), [("VLLM_CPU_OMP_THREADS_BIND", "0"), ("LD_PRELOAD", "libiomp5.so")]
)
def test_operator_settings_disable_the_prediction(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert predicted_environment() == {}


@pytest.mark.parametrize(
    ("started_with", "method"), [({"OMP_NUM_THREADS": "3"}, "fork"), ({}, "spawn")]
)
def test_worker_is_forked_only_in_the_same_environment(
    started_with: dict[str, str], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.executor import multiproc_executor

    from genir_server.engine.cpu_fork import forked_worker

    def make(**kwargs: Any) -> tuple[str, Any, Any]:
        context = multiproc_executor.get_mp_context()
        return context.get_start_method(), worker.worker_main, kwargs

    worker = multiproc_executor.WorkerProc
    main = worker.worker_main
    monkeypatch.setattr(
        multiproc_executor, "get_mp_context", lambda: multiprocessing.get_context("spawn")
    )
    monkeypatch.setattr(worker, "make_worker_process", staticmethod(make))
    # Libraries have started threads in this process before.
    monkeypatch.setattr(forked_worker, "foreign_thread", str)
    for name in start_environment(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    forked_worker.fork_workers(started_with, os.sched_getaffinity(0), lambda: None)
    method_used, main_used, kwargs = worker.make_worker_process(rank=0)
    assert method_used == method
    assert (main_used is main) == (method == "spawn")
    assert kwargs == ({"rank": 0, "inherited_fds": []} if method == "fork" else {"rank": 0})
    # The patch lasts only while the worker is made.
    assert multiproc_executor.get_mp_context().get_start_method() == "spawn"
    assert worker.worker_main is main


def test_engine_core_is_started_anew_if_the_fork_server_dies() -> None:
    from vllm.v1.engine import utils

    from genir_server.engine.cpu_fork.fork_server import fork_engine_core

    seen: list[str] = []

    def construct() -> str:
        seen.append(utils.get_mp_context().get_start_method())
        if len(seen) == 1:
            raise EOFError
        return "an engine"

    assert fork_engine_core(construct) == "an engine"
    assert seen[0] == "forkserver"
    assert seen[1] != "forkserver"


def test_foreign_thread_prevents_forking_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that Python does not know may be one of OpenMP's, which a fork would lose."""
    from genir_server.engine.cpu_fork import forked_worker

    monkeypatch.setattr(threading, "enumerate", list)
    assert forked_worker.foreign_thread()
    assert "thread" in forked_worker.obstacle(start_environment(os.environ))


def test_stopping_without_a_fork_server_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from genir_server.engine.cpu_fork.fork_server import stop_fork_server
    from genir_server.patch_table import fits

    killed: list[object] = []
    monkeypatch.setattr(fits, "_outcomes", {})
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    stop_fork_server()
    assert not killed


def test_fork_server_is_stopped_with_its_socket_folder() -> None:
    script = textwrap.dedent("""
        import multiprocessing, os, time
        from pathlib import Path
        from multiprocessing import forkserver
        from genir_server.engine.cpu_fork import fork_server
        fork_server._PRELOAD = "json"
        assert fork_server.start_fork_server()
        folder = Path(forkserver._forkserver._forkserver_address).parent
        pid = forkserver._forkserver._forkserver_pid
        fork_server.stop_fork_server()
        assert not folder.exists()
        assert os.waitpid(pid, 0)[1] == 9
    """)
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)
