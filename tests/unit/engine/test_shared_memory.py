"""Killed processes leave no shared memory, and nobody else's is touched."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import uuid
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.vllm.processes import EngineProcesses
from genir_server.engine.vllm.shared_memory import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

pytestmark = pytest.mark.filterwarnings("error")


def mapped_file(name: str) -> mmap.mmap:
    """A segment of which Python's resource tracker does not know."""
    with (FOLDER / name).open("w+b") as file:
        file.truncate(mmap.PAGESIZE)
        return mmap.mmap(file.fileno(), mmap.PAGESIZE)


def engine(shared: str, names: tuple[str, str], answers: Connection) -> None:
    """Maps segments as an engine does: its own, one that another process shares, and files."""
    own = SharedMemory(create=True, size=4096)
    theirs = SharedMemory(shared)
    mapped = [mapped_file(name) for name in names]
    answers.send(own.name)
    answers.recv()
    del own, theirs, mapped


@pytest.fixture
def shared() -> Iterator[SharedMemory]:
    segment = SharedMemory(create=True, size=4096)
    yield segment
    segment.close()
    segment.unlink()


@pytest.fixture
def names() -> Iterator[tuple[str, str]]:
    """A segment of vLLM's kernels for CPUs, and one of another library."""
    number = uuid.uuid4().hex
    names = f"vllm_dist_{number}-tp:0-[0-1]-cpushm_0", f"other-{number}"
    yield names
    for name in names:
        (FOLDER / name).unlink(missing_ok=True)


@pytest.fixture
def start(shared: SharedMemory, names: tuple[str, str]) -> Iterator[Callable[[], tuple[int, str]]]:
    context = multiprocessing.get_context("spawn")
    ours, answers = context.Pipe()
    process = context.Process(target=engine, args=(shared.name, names, answers))

    def run() -> tuple[int, str]:
        process.start()
        assert process.pid is not None
        return process.pid, ours.recv()

    yield run
    process.kill()
    process.join()


def test_segments_of_killed_processes_alone_are_removed(
    start: Callable[[], tuple[int, str]], shared: SharedMemory, names: tuple[str, str]
) -> None:
    pid, own = start()
    processes = EngineProcesses([pid])
    os.kill(pid, signal.SIGKILL)
    of_kernels, of_others = (FOLDER / name for name in names)
    assert all(path.exists() for path in (FOLDER / own, of_kernels, of_others))
    assert processes.end(on_cpu=True)
    assert not (FOLDER / own).exists()
    assert not of_kernels.exists()
    # This process has mapped the one, and the other's name is not of Python or vLLM.
    assert (FOLDER / shared.name).exists()
    assert of_others.exists()


def test_later_segment_of_the_same_name_stays(start: Callable[[], tuple[int, str]]) -> None:
    pid, own = start()
    processes = EngineProcesses([pid])
    os.kill(pid, signal.SIGKILL)
    left = SharedMemory(own)
    left.close()
    left.unlink()
    (FOLDER / own).write_bytes(b"another program's")
    try:
        assert processes.end(on_cpu=True)
        assert (FOLDER / own).read_bytes() == b"another program's"
    finally:
        (FOLDER / own).unlink()


def test_processes_that_do_not_end_keep_their_segments(
    start: Callable[[], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, own = start()
    processes = EngineProcesses([pid])
    with monkeypatch.context() as patched:
        patched.setattr(EngineProcesses, "kill", lambda _: None)
        patched.setattr("genir_server.engine.vllm.processes.END_SECONDS", 0.1)
        assert not processes.end(on_cpu=True)
    assert (FOLDER / own).exists()
    assert processes.end(on_cpu=True)
    assert not (FOLDER / own).exists()
