"""Work on callers' data in a child process of a warm one.

A child starts with everything its parent has loaded, within about a millisecond, and may run out
of time, memory or stack: the parent stays as it was. What the child allocated is gone with it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 1 << 16
_OUT_OF_MEMORY_SIGNS = (b"memory allocation", b"MemoryError", b"out of memory")
_LAST_WORDS_BYTES = 4_096
_FAILED = 70


class Death(StrEnum):
    """What a child died of."""

    TIME = "time"
    WAIT = "wait"
    """It took too long by the clock although it used less processor time than it might."""
    MEMORY = "memory"
    CRASH = "crash"
    """Out of stack in most cases."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a child.

    Attributes:
        body: what the work gave; empty if the child died.
        death: what it died of; None if it did not.
        resident: the most memory that it had, in bytes, its parent's share included.

    """

    body: bytes
    death: Death | None
    resident: int


def in_child(
    work: Callable[[], bytes], *, seconds: float, memory: int, wall_seconds: float
) -> Outcome:
    """Runs `work` in a child. For processes of one thread.

    Args:
        work: what to do. MemoryError is a death of memory, any other exception a crash.
        seconds: processor time; the child dies after it wherever it is, inside of a library too.
        memory: address space beyond what this process has, in bytes.
        wall_seconds: time by the clock, for when the machine is overloaded.

    """
    reading, writing = os.pipe()
    last_words = os.memfd_create("last-words")
    child = os.fork()
    if child == 0:
        _work(work, writing, last_words, seconds, memory)
    os.close(writing)
    parts = _read(reading, time.monotonic() + wall_seconds)
    os.close(reading)
    if parts is None:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    said = os.pread(last_words, _LAST_WORDS_BYTES, 0)
    os.close(last_words)
    resident = usage.ru_maxrss * 1024
    if parts is None:
        return Outcome(b"", Death.WAIT, resident)
    death = _death(os.waitstatus_to_exitcode(status), said)
    return Outcome(b"" if death else b"".join(parts), death, resident)


def _read(pipe: int, deadline: float) -> list[bytes] | None:
    """All that comes until the other end is closed; None if that takes too long."""
    readable = select.poll()
    readable.register(pipe, select.POLLIN)
    parts: list[bytes] = []
    while readable.poll(max(0.0, deadline - time.monotonic()) * 1e3):
        part = os.read(pipe, _READ_BYTES)
        if not part:
            return parts
        parts.append(part)
    return None


def _work(
    work: Callable[[], bytes], writing: int, last_words: int, seconds: float, memory: int
) -> None:
    """All of a child's life."""
    code = _FAILED
    try:
        # Nothing may outlive the process that waits for it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(last_words, 2)
        os.dup2(last_words, 1)
        most = memory + _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        body = memoryview(work())
        signal.setitimer(signal.ITIMER_PROF, 0)
        while body:
            body = body[os.write(writing, body) :]
        code = 0
    except BaseException as fault:  # noqa: BLE001 - the child ends here, whatever happens
        os.write(2, type(fault).__name__.encode())
    finally:
        # Not even exit handlers are run twice.
        os._exit(code)


def _death(code: int, said: bytes) -> Death | None:
    if code == 0:
        return None
    if code == -signal.SIGPROF:
        return Death.TIME
    if any(sign in said for sign in _OUT_OF_MEMORY_SIGNS):
        return Death.MEMORY
    return Death.CRASH


def _address_space() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel's
        return int(statm.read().split()[0]) * resource.getpagesize()


if sys.platform != "linux":  # pragma: no cover
    raise ImportError("callers' schemas are worked on in Linux processes")
