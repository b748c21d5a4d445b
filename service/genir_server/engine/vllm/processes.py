"""Tracks the processes of an engine, to notice their death and to leave none behind."""

from __future__ import annotations

import asyncio
import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from genir_server.engine.vllm.shared_memory import SharedSegments

if TYPE_CHECKING:
    from collections.abc import Iterable

_VLLM_NAME = "VLLM::"
_POLL_SECONDS = 0.1
# Newer kernels answer ENOENT for a process that has just been reaped, which psutil passes on.
_GONE = (ProcessLookupError, FileNotFoundError)
"""Seconds between two checks of a process that has no pidfd, or that ends."""

END_SECONDS = 3.0
"""Seconds that killed processes have to end on a CPU."""

RELEASE_SECONDS = 60.0
"""The same on accelerators. A process ends once its driver has released the device's memory, which
the next engine needs; vLLM measures that memory when it starts."""


class EngineProcesses:
    """The processes that vLLM started for an engine, and their descendants.

    They are listed while the engine is alive, because the orphaned workers of a dead engine core
    cannot be told from others. psutil tells a process from a later one with the same id. Their
    shared memory is listed, too. Blocks for some milliseconds.

    Args:
        pids: ids of the processes that this one started: engine cores and their coordinator.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._processes: set[psutil.Process] = set()
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                self._processes.add(psutil.Process(pid))
        self._add_descendants()
        self._shared_segments = SharedSegments(process.pid for process in self._processes)
        # `lost` is called for every request, so it polls pidfds with one system call. psutil would
        # read and parse a file for each process.
        self._pidfds: list[int] = []
        self._poll = select.poll()
        self._lost = False
        self._without_pidfd: list[psutil.Process] = []
        for process in filter(_is_needed, self._processes):
            self._watch(process)

    def lost(self) -> bool:
        """Whether a process that the engine needs has died.

        vLLM's engine core notices a dead worker too, but takes more than a second to report it.
        """
        # A pidfd is readable from the process's death on, also while it is a zombie.
        if not self._lost:
            self._lost = bool(self._poll.poll(0)) or not all(map(_runs, self._without_pidfd))
        return self._lost

    async def wait_lost(self, seconds: float) -> bool:
        """Waits until `lost`, but no longer than `seconds`; returns `lost`.

        The death of a process wakes the event loop, so this does not poll.
        """
        if self.lost():
            return True
        if self._without_pidfd:
            seconds = min(seconds, _POLL_SECONDS)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # Duplicates, because `wait` closes the originals in another thread.
        duplicates: list[int] = []
        try:
            # If no descriptor or watch is left, the caller polls again after `seconds`.
            with suppress(OSError):
                for pidfd in tuple(self._pidfds):
                    duplicates.append(os.dup(pidfd))
                    loop.add_reader(duplicates[-1], ended.set)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
        finally:
            for pidfd in duplicates:
                loop.remove_reader(pidfd)
                os.close(pidfd)
        return self.lost()

    def kill(self) -> None:
        """Sends SIGKILL to all processes, which also ends stopped ones. Does not block."""
        self._add_descendants()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def end(self, *, on_cpu: bool) -> bool:
        """Kills all and waits until they have ended; False if one does not end. Blocks.

        What they leave in shared memory is removed.
        """
        self.kill()
        ended = self.wait(END_SECONDS if on_cpu else RELEASE_SECONDS)
        if ended:
            self._shared_segments.remove()
        return ended

    def wait(self, seconds: float) -> bool:
        """Waits until all have ended; False if `seconds` pass first. Blocks."""
        deadline = time.monotonic() + seconds
        alive = list(self._processes)
        # psutil takes a zombie that nobody reaps for alive, so it is asked often.
        while alive := [each for each in alive if not _ends(each, 0) and _runs(each)]:
            if time.monotonic() >= deadline:
                break
            _ends(alive[0], _POLL_SECONDS)
        self._lost = True
        while self._pidfds:
            pidfd = self._pidfds.pop()
            self._poll.unregister(pidfd)
            os.close(pidfd)
        return not alive

    def _watch(self, process: psutil.Process) -> None:
        try:
            pidfd = os.pidfd_open(process.pid)
        except _GONE:
            self._lost = True
            return
        except OSError:
            # The kernel is older than 5.3, or a sandbox forbids the call.
            self._without_pidfd.append(process)
            return
        self._pidfds.append(pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def _add_descendants(self) -> None:
        for process in tuple(self._processes):
            with suppress(psutil.NoSuchProcess):
                self._processes.update(process.children(recursive=True))


def _is_needed(process: psutil.Process) -> bool:
    """Whether vLLM has set the process's title. Its helpers, which may end, keep Python's."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.name().startswith(_VLLM_NAME))
    return False


def _ends(process: psutil.Process, seconds: float) -> bool:
    """Whether a process ends within so many seconds; reaps a child of this one."""
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    except _GONE:
        pass
    return True


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        # A killed child stays a zombie until its parent reaps it. One that has threads yet is only
        # without its first thread, and keeps its memory.
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    return False
