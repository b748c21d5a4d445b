"""The processes of an engine: their death is noticed, and none is left behind."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import multiprocessing
import os
import platform
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from genir_server.engine.protocol import END_SECONDS
from genir_server.engine.vllm import processes as module
from genir_server.engine.vllm.engine import COUNTS_SECONDS, SHUTDOWN_SECONDS
from genir_server.engine.vllm.processes import EngineProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess


def named(name: str) -> None:
    """Sleeps under the title of one of vLLM's processes."""
    with open("/proc/self/comm", "w") as comm:  # noqa: PTH123 - a kernel file
        comm.write(name)
    time.sleep(60)


def without_first_thread() -> None:
    """Ends the first thread and lets another one sleep."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    ctypes.CDLL(None).syscall(number, 0)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def core() -> Iterator[BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(target=named, args=("VLLM::Engine",))
    process.start()
    deadline = time.monotonic() + 60
    while psutil.Process(process.pid).name() != "VLLM::Engine" and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def refuse(pid: int) -> int:
    raise OSError(errno.ENOSYS, f"no descriptor of {pid}")


@pytest.fixture(params=["descriptors", "old kernel"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "old kernel":
        monkeypatch.setattr(os, "pidfd_open", refuse)


@pytest.mark.usefixtures("kernel")
def test_dead_process_is_lost_before_it_is_reaped(core: BaseProcess) -> None:
    assert core.pid is not None
    processes = EngineProcesses([core.pid])
    assert not processes.lost()
    os.kill(core.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not processes.lost() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.lost()
    assert psutil.Process(core.pid).status() == psutil.STATUS_ZOMBIE


def test_stopped_process_is_not_lost_and_can_be_killed(core: BaseProcess) -> None:
    assert core.pid is not None
    processes = EngineProcesses([core.pid])
    os.kill(core.pid, signal.SIGSTOP)
    assert not processes.lost()
    before = open_files()
    processes.kill()
    assert processes.wait(10)
    assert processes.lost()
    assert open_files() < before
    assert processes.wait(1)


def test_process_that_ends_slowly_is_waited_for_on_accelerators_only(
    core: BaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver may take seconds to release the memory of a killed process."""
    assert core.pid is not None
    pid = core.pid
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(EngineProcesses, "kill", lambda _: None)
    monkeypatch.setattr(module, "END_SECONDS", 0.2)
    assert not EngineProcesses([pid]).end(on_cpu=True)
    slow = threading.Timer(1.0, os.kill, (pid, signal.SIGKILL))
    slow.start()
    assert EngineProcesses([pid]).end(on_cpu=False)
    slow.join()


def test_whoever_ends_an_engine_waits_as_long_as_an_accelerator_may_take() -> None:
    assert module.RELEASE_SECONDS == 60
    assert END_SECONDS > COUNTS_SECONDS + SHUTDOWN_SECONDS + module.RELEASE_SECONDS


def test_zombie_with_another_thread_has_not_ended() -> None:
    process = multiprocessing.get_context("spawn").Process(target=without_first_thread)
    process.start()
    assert process.pid is not None
    deadline = time.monotonic() + 60
    seen = psutil.Process(process.pid)
    while seen.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    processes = EngineProcesses([process.pid])
    assert not processes.wait(0.3)
    processes.kill()
    assert processes.wait(30)


def test_zombie_that_nobody_reaps_has_ended(
    core: BaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert core.pid is not None
    processes = EngineProcesses([core.pid])
    # As for a process that another one has to reap.

    def never(process: psutil.Process, seconds: float) -> int:
        time.sleep(seconds)
        raise psutil.TimeoutExpired(seconds, process.pid)

    monkeypatch.setattr(psutil.Process, "wait", never)
    processes.kill()
    assert processes.wait(30)


def test_process_that_was_just_reaped_has_ended(
    core: BaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer kernels say then that there is no such file, which psutil passes on."""
    assert core.pid is not None
    processes = EngineProcesses([core.pid])

    def reaped(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(psutil.Process, "wait", reaped)
    assert processes.wait(0)
    monkeypatch.setattr(os, "pidfd_open", reaped)
    assert EngineProcesses([core.pid]).lost()


def test_unknown_process_id_is_ignored() -> None:
    processes = EngineProcesses([2**22 + 1])
    assert not processes.lost()
    processes.kill()
    assert processes.wait(1)


@pytest.mark.usefixtures("kernel")
async def test_death_of_a_process_wakes_the_waiter(core: BaseProcess) -> None:
    assert core.pid is not None
    processes = EngineProcesses([core.pid])
    before = open_files()
    assert not await processes.wait_lost(0.05)
    waiting = asyncio.create_task(until_lost(processes))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    os.kill(core.pid, signal.SIGKILL)
    await waiting
    assert time.monotonic() - began < 5
    assert await processes.wait_lost(60), "a later waiter does not wait"
    assert open_files() == before


async def until_lost(processes: EngineProcesses) -> None:
    # On an old kernel nothing wakes the waiter; then the wait is short.
    while not await processes.wait_lost(60):
        pass


async def test_cancelled_waiter_closes_its_descriptors(core: BaseProcess) -> None:
    assert core.pid is not None
    processes = EngineProcesses([core.pid])
    before = open_files()
    waiting = asyncio.create_task(processes.wait_lost(60))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert open_files() == before
