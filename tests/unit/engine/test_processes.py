"""The processes of an engine: their death is noticed, and none is left behind."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from genir_server.engine.vllm.processes import EngineProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess


def named(name: str) -> None:
    """Sleeps under the title of one of vLLM's processes."""
    with open("/proc/self/comm", "w") as comm:  # noqa: PTH123 - a kernel file
        comm.write(name)
    time.sleep(60)


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
