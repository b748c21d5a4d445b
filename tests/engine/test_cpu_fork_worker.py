"""A worker is forked only where it would begin as the core did."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from genir_server.engine.cpu_fork.worker_environment import begins_with, foreseen_environment

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")

_NAMES = {
    "LD_PRELOAD",
    "OMP_NUM_THREADS",
    "GOMP_CPU_AFFINITY",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TORCHINDUCTOR_CPP_DYNAMIC_THREADS",
}


@pytest.fixture(autouse=True)
def _as_it_is_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # An engine that was started in this process left its own behind.
    for name in ("LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU"):
        monkeypatch.delenv(name, raising=False)


def test_only_what_counts_when_a_program_begins_is_compared() -> None:
    environment = {"OMP_NUM_THREADS": "2", "HOME": "/", "TORCH_LOGS": "x", "VLLM_OMP_": "1"}
    assert begins_with(environment) == {"OMP_NUM_THREADS": "2", "TORCH_LOGS": "x"}


def test_a_worker_has_the_cpus_that_are_not_kept_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    foreseen = foreseen_environment()
    if not foreseen:
        pytest.skip("several memory nodes, or a processor on which nothing is foreseen")
    assert set(foreseen) == _NAMES
    cpus = set(map(int, foreseen["GOMP_CPU_AFFINITY"].split()))
    assert cpus <= os.sched_getaffinity(0)
    assert int(foreseen["OMP_NUM_THREADS"]) == len(cpus)
    for library in foreseen["LD_PRELOAD"].split(":"):
        assert Path(library).exists()
    # What is loaded first already is not loaded twice.
    monkeypatch.setenv("LD_PRELOAD", foreseen["LD_PRELOAD"])
    assert foreseen_environment() == foreseen
    if len(cpus) > 1:
        monkeypatch.delenv("VLLM_CPU_NUM_OF_RESERVED_CPU")
        assert int(foreseen_environment()["OMP_NUM_THREADS"]) == len(cpus) - 1


@pytest.mark.parametrize(
    ("name", "value"), [("VLLM_CPU_OMP_THREADS_BIND", "0"), ("LD_PRELOAD", "libiomp5.so")]
)
def test_an_operators_own_setting_is_left_to_vllm(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert foreseen_environment() == {}


@pytest.mark.parametrize(
    ("began_with", "method"), [({"OMP_NUM_THREADS": "3"}, "fork"), ({}, "spawn")]
)
def test_vllm_starts_a_worker_by_itself_where_it_would_begin_otherwise(
    began_with: dict[str, str], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.executor import multiproc_executor

    from genir_server.engine.cpu_fork import worker as worker_fork

    def make(**kwargs: Any) -> tuple[str, Any, Any]:
        context = multiproc_executor.get_mp_context()
        return context.get_start_method(), worker.worker_main, kwargs

    worker = multiproc_executor.WorkerProc
    main = worker.worker_main
    monkeypatch.setattr(
        multiproc_executor, "get_mp_context", lambda: multiprocessing.get_context("spawn")
    )
    monkeypatch.setattr(worker, "make_worker_process", staticmethod(make))
    # Whatever ran in this process before has its threads.
    monkeypatch.setattr(worker_fork, "foreign_thread", str)
    for name in begins_with(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    worker_fork.fork_workers(began_with, os.sched_getaffinity(0), lambda: None)
    method_used, main_used, kwargs = worker.make_worker_process(rank=0)
    assert method_used == method
    assert (main_used is main) == (method == "spawn")
    assert kwargs == ({"rank": 0, "inherited_fds": []} if method == "fork" else {"rank": 0})
    # And nothing stays as it was for that one.
    assert multiproc_executor.get_mp_context().get_start_method() == "spawn"
    assert worker.worker_main is main


def test_a_core_is_started_anew_where_what_it_is_forked_from_has_died() -> None:
    from vllm.v1.engine import utils

    from genir_server.engine.cpu_fork.fork_server import with_forked_core

    seen: list[str] = []

    def construct() -> str:
        seen.append(utils.get_mp_context().get_start_method())
        if len(seen) == 1:
            raise EOFError
        return "an engine"

    assert with_forked_core(construct) == "an engine"
    assert seen[0] == "forkserver"
    assert seen[1] != "forkserver"


def test_another_thread_keeps_a_worker_from_being_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that Python does not know may be one of OpenMP's, which would not be there."""
    from genir_server.engine.cpu_fork import worker as worker_fork

    monkeypatch.setattr(threading, "enumerate", list)
    assert worker_fork.foreign_thread()
    assert "thread" in worker_fork.obstacle(begins_with(os.environ))
