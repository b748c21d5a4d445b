"""A worker runs each job in a child process; the child's failures do not affect the worker."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from genir_server.schema.isolation.forked_child import ForkedChildren
from genir_server.schema.isolation.job import (
    Failure,
    Handler,
    Job,
    JobResult,
    WorkerConfiguration,
)
from genir_server.schema.isolation.worker_client import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY_BYTES = 1 << 28
# More than fits into a pipe.
LARGE = b"q" * 300_000
# Prints how many forks the fork handlers see for a worker, and whether they see uvloop's own.
COUNT_FORKS = """
import asyncio, ctypes, sys, uvloop
from genir_server.schema.isolation.worker_client import WorkerProcess

forks = []
seen = ctypes.CFUNCTYPE(None)(lambda: forks.append(1))
ctypes.CDLL(None).__register_atfork(seen, None, None, None)

async def main():
    worker = await WorkerProcess.start()
    worker.kill()
    await worker.wait()
    by_worker = len(forks)
    plain = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await plain.wait()
    print(by_worker, len(forks) > by_worker)

uvloop.run(main())
"""
# Adopts orphans, as process 1 of a container does. Prints the exit code of a killed worker, how
# many children it had, and which of them are left.
ADOPT_ORPHANS = """
import asyncio, ctypes, psutil
from genir_server.schema.isolation.job import WorkerConfiguration
from genir_server.schema.isolation.worker_client import WorkerProcess

async def main():
    worker = await WorkerProcess.start()
    module = "genir_server.core.verification_worker"
    await worker.configure(WorkerConfiguration(module, {"cached_bytes": 1 << 20}, 1 << 28))
    while not (children := psutil.Process(worker.pid).children()):
        await asyncio.sleep(0.01)
    worker.kill()
    code = await worker.wait()
    print(code, len(children), psutil.Process().children())

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
asyncio.run(main())
"""


def children_for(
    handle: Callable[[bytes], bytes],
    warm_up: Callable[[], object] | None = None,
    *,
    warm_up_after_seconds: float = 0.5,
) -> ForkedChildren:
    return ForkedChildren(
        Handler(handle, warm_up),
        memory_bytes=MEMORY_BYTES,
        warm_up_after_seconds=warm_up_after_seconds,
    )


def job(body: bytes, cpu_seconds: float = 5.0, wall_seconds: float = 60.0) -> Job:
    return Job(body, cpu_seconds, wall_seconds)


def exhaust_memory() -> bytes:
    return bytes(1 << 30)


def exhaust_time() -> bytes:
    while True:
        pass


def crash() -> bytes:
    raise RuntimeError


def die() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def exhaust_stack() -> bytes:
    raise RecursionError


def exhaust_native_stack() -> bytes:
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def sleep() -> bytes:
    time.sleep(60)
    return b""


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_jobs_and_results_survive_the_way_through_a_frame() -> None:
    sent = Job(b"a\nb", 0.25, 10.5)
    assert Job.decode(sent.encode()) == sent
    for result in (JobResult(b"{\n}", None, 7), JobResult(b"", Failure.MEMORY, 8)):
        assert JobResult.decode(result.encode()) == result
    configuration = WorkerConfiguration("module", {"a": None}, 1 << 20)
    assert WorkerConfiguration.decode(configuration.encode()) == configuration


def test_each_failure_is_reported_with_its_cause() -> None:
    work: dict[bytes, Callable[[], bytes]] = {
        Failure.MEMORY.encode(): exhaust_memory,
        Failure.CPU_TIME.encode(): exhaust_time,
        Failure.STACK.encode(): exhaust_stack,
        b"native stack": exhaust_native_stack,
        Failure.CRASH.encode(): crash,
        b"killed": die,
        Failure.WALL_TIME.encode(): sleep,
        b"large": lambda: b"x" * 1_000_000,
    }
    children = children_for(lambda body: work[body]())
    for failure in (Failure.MEMORY, Failure.CPU_TIME, Failure.STACK, Failure.CRASH):
        result = children.run(job(failure.encode(), cpu_seconds=0.3))
        assert (result.failure, result.body) == (failure, b"")
    assert children.run(job(b"native stack")).failure is Failure.STACK
    assert children.run(job(b"killed")).failure is Failure.CRASH
    late = children.run(job(Failure.WALL_TIME.encode(), wall_seconds=0.1))
    assert (late.failure, late.body) == (Failure.WALL_TIME, b"")
    large = children.run(job(b"large"))
    assert (large.failure, len(large.body)) == (None, 1_000_000)
    children.close()


def test_idle_child_runs_warm_up_and_keeps_the_limits_of_its_job() -> None:
    warmed_up: list[int] = []

    def work(body: bytes) -> bytes:
        if body == b"time":
            exhaust_time()
        return body * len(warmed_up)

    children = children_for(work, lambda: warmed_up.append(1), warm_up_after_seconds=0.0)
    children.fork_ahead()
    time.sleep(0.2)
    assert children.run(job(LARGE)).body == LARGE
    children.fork_ahead()
    time.sleep(0.2)
    assert children.run(job(b"time", cpu_seconds=0.2)).failure is Failure.CPU_TIME
    # Only the children were warmed up.
    assert not warmed_up
    children.close()


def test_failing_warm_up_does_not_affect_the_job() -> None:
    children = children_for(bytes, crash, warm_up_after_seconds=0.0)
    children.fork_ahead()
    time.sleep(0.2)
    result = children.run(job(b"body"))
    assert (result.failure, result.body) == (None, b"body")
    children.close()


def test_child_that_does_not_read_its_job_is_killed_at_the_deadline() -> None:
    children = children_for(bytes)
    children.fork_ahead()
    assert children._next is not None
    os.kill(children._next._pid, signal.SIGSTOP)
    start = time.monotonic()
    result = children.run(job(LARGE, wall_seconds=0.2))
    assert result.failure is Failure.WALL_TIME
    assert time.monotonic() - start < 10
    assert children.run(job(b"body")).body == b"body"
    children.close()


def test_close_leaves_no_files_and_no_processes() -> None:
    before = open_files()
    children = children_for(bytes)
    children.fork_ahead()
    children.run(job(b"body"))
    children.fork_ahead()
    assert children._next is not None
    pid = children._next._pid
    children.close()
    assert open_files() == before
    assert not psutil.pid_exists(pid)


def test_child_killed_while_idle_is_replaced() -> None:
    children = children_for(bytes)
    children.fork_ahead()
    assert children._next is not None
    os.kill(children._next._pid, signal.SIGKILL)
    time.sleep(0.2)
    assert children.run(job(b"body")).body == b"body"
    children.close()


def test_starting_a_worker_runs_no_fork_handlers() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", COUNT_FORKS], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["0", "True"]


def test_children_of_a_killed_worker_are_reaped() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ADOPT_ORPHANS], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["-9", "1", "[]"]


async def test_worker_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = open_files()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            await WorkerProcess.start()
    assert open_files() == before


@pytest.mark.parametrize(
    ("own", "later"), [(0, 5), (10, 15), (18, 19)], ids=["usual", "nice", "almost nicest"]
)
def test_job_that_takes_long_gives_way_to_others(own: int, later: int) -> None:
    code = f"""
import os, time
from genir_server.schema.isolation.forked_child import ForkedChildren
from genir_server.schema.isolation.job import Handler, Job

def handle(body):
    time.sleep(0.5)
    return str(os.getpriority(os.PRIO_PROCESS, 0)).encode()

os.nice({own} - os.getpriority(os.PRIO_PROCESS, 0))
print(ForkedChildren(Handler(handle), memory_bytes=1 << 28).run(Job(b"", 5.0, 60.0)).body.decode())
"""
    # Whatever the priority of the tests is, that of the child is relative to its own.
    if os.getpriority(os.PRIO_PROCESS, 0) > own:
        own_now = os.getpriority(os.PRIO_PROCESS, 0)
        code, later = code.replace(f"os.nice({own} -", f"os.nice({own_now} -"), min(19, own_now + 5)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == later
