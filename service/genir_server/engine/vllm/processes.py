"""The processes that an engine consists of, remembered so that none outlives it."""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

_VLLM_NAME = "VLLM::"
_LOOK_SECONDS = 0.1
"""How often a process is looked at that has no descriptor to wake anybody."""


class EngineProcesses:
    """The engine core's processes and all that they have started.

    They are looked up while the engine is well: once the core is dead, nobody can tell any more
    which orphaned workers were its own. psutil tells a process from a later one of the same id.

    Args:
        core_pids: process ids of the engine core.
    """

    def __init__(self, core_pids: Iterable[int]) -> None:
        self._processes: set[psutil.Process] = set()
        for pid in core_pids:
            with suppress(psutil.NoSuchProcess):
                self._processes.add(psutil.Process(pid))
        self._look_again()
        # Asked at every call, so it has to be cheap: one system call, where psutil would read and
        # parse a file for each process.
        self._ends: list[int] = []
        self._end_of_any = select.poll()
        self._lost = False
        self._unfollowed: list[psutil.Process] = []
        for process in filter(_is_vital, self._processes):
            self._follow(process)

    def lost(self) -> bool:
        """Whether one that the engine cannot do without is gone.

        vLLM's core notices a dead worker by itself, but takes more than a second to say so.
        """
        # A descriptor of a process is readable from its death on, also while it is a zombie.
        if not self._lost:
            self._lost = bool(self._end_of_any.poll(0)) or not all(map(_runs, self._unfollowed))
        return self._lost

    async def wait_lost(self, seconds: float) -> bool:
        """Waits until `lost`, but no longer than `seconds`; gives what it is then.

        The end of a process wakes the event loop, so that nobody has to ask many times a second.
        """
        if self.lost():
            return True
        if self._unfollowed:
            seconds = min(seconds, _LOOK_SECONDS)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # Descriptors of its own: `wait` closes the others, in a thread.
        ends: list[int] = []
        try:
            # Without a descriptor to spare, or one more watch, it is still asked again.
            with suppress(OSError):
                for end in tuple(self._ends):
                    ends.append(os.dup(end))
                    loop.add_reader(ends[-1], ended.set)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
        finally:
            for end in ends:
                loop.remove_reader(end)
                os.close(end)
        return self.lost()

    def kill(self) -> None:
        """Sends SIGKILL to all of them, which ends stopped ones too. Does not block."""
        self._look_again()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def wait(self, seconds: float) -> bool:
        """Waits until none is left; False when `seconds` passed first. Blocks."""
        _, alive = psutil.wait_procs(list(self._processes), timeout=seconds)
        self._lost = True
        while self._ends:
            end = self._ends.pop()
            self._end_of_any.unregister(end)
            os.close(end)
        return not alive

    def _follow(self, process: psutil.Process) -> None:
        try:
            end = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._lost = True
            return
        except OSError:
            # A kernel before 5.3, or a sandbox without the call.
            self._unfollowed.append(process)
            return
        self._ends.append(end)
        self._end_of_any.register(end, select.POLLIN)

    def _look_again(self) -> None:
        for process in tuple(self._processes):
            with suppress(psutil.NoSuchProcess):
                self._processes.update(process.children(recursive=True))


def _is_vital(process: psutil.Process) -> bool:
    """Whether vLLM has named the process: its helpers, which may end, keep Python's name."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.name().startswith(_VLLM_NAME))
    return False


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        # A killed child stays as a zombie until its parent looks at it.
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
