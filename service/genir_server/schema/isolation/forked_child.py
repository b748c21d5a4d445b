"""Work on callers' data in a child process of a warm one.

A child starts with everything its parent has loaded, within about a millisecond, and may run out
of time, memory or stack: the parent stays as it was. What the child allocated is gone with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import struct
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
# What a child says first: how long its answer is, and the most memory that it had.
_HEAD = struct.Struct(">QQ")
_FAILED = 70
_IDLE_SECONDS = 0.5


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


class Children:
    """Children that work on one question each. For processes of one thread.

    The next child stands ready before it is asked, so that nobody waits until it is made. One that
    nobody asks for a while goes through some harmless work first: much of what a child does for the
    first time is slow, because only then does the kernel give it memory of its own.

    Args:
        work: what is done with a question. MemoryError is a death of memory, any other exception a
            crash.
        memory: address space of a child beyond what it has when it is asked, in bytes.
        rehearse: the harmless work; None for none.
        idle_seconds: how long a child waits for its question before that.

    """

    def __init__(
        self,
        work: Callable[[bytes], bytes],
        *,
        memory: int,
        rehearse: Callable[[], object] | None = None,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._work = work
        self._memory = memory
        self._rehearse = rehearse
        self._idle_seconds = idle_seconds
        self._spare: _Child | None = None
        self._last: _Child | None = None

    def stand_by(self) -> None:
        """Makes the next child, if there is none, and buries the last."""
        self._bury_last()
        self._spare = self._spare or self._fork()

    def ask(self, question: bytes, *, seconds: float, wall_seconds: float) -> Outcome:
        """What became of a child that was asked.

        Args:
            question: what it is asked.
            seconds: processor time; the child dies after it wherever it is, inside of a library
                too.
            wall_seconds: time by the clock, for when the machine is overloaded.

        """
        deadline = time.monotonic() + wall_seconds
        frame = f"{seconds}\n".encode() + question
        self._bury_last()
        child, self._spare = self._spare or self._fork(), None
        if not child.hear(frame, deadline):
            # It died while it had nothing to do.
            child.bury()
            child = self._fork()
            child.hear(frame, deadline)
        self._last = child
        return child.outcome(deadline)

    def close(self) -> None:
        """Ends the child that stands by."""
        self._bury_last()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()
            spare.bury()

    def _bury_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.bury()

    def _fork(self) -> _Child:
        hearing, asking = os.pipe()
        reading, writing = os.pipe()
        last_words = os.memfd_create("last-words")
        pid = os.fork()
        if pid == 0:
            os.close(asking)
            os.close(reading)
            self._live(hearing, writing, last_words)
        os.close(hearing)
        os.close(writing)
        return _Child(pid, asking, reading, last_words)

    def _live(self, hearing: int, writing: int, last_words: int) -> None:
        """All of a child's life."""
        code = _FAILED
        try:
            # Nothing may outlive the process that waits for it.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(last_words, 2)
            os.dup2(last_words, 1)
            if self._rehearse is not None and not _ready(
                hearing, select.POLLIN, self._idle_seconds
            ):
                # Limits that an operator sets may refuse it; that is nothing against the question.
                with contextlib.suppress(Exception):
                    self._rehearse()
            parts: list[bytes] = []
            while part := os.read(hearing, _READ_BYTES):
                parts.append(part)
            seconds, _, question = b"".join(parts).partition(b"\n")
            if not seconds:
                return
            most = self._memory + _address_space()
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.setitimer(signal.ITIMER_PROF, float(seconds))
            answer = self._work(question)
            signal.setitimer(signal.ITIMER_PROF, 0)
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            body = memoryview(_HEAD.pack(len(answer), resident) + answer)
            while body:
                body = body[os.write(writing, body) :]
            # To give up its memory takes the kernel longer than many a question: what was said is
            # complete before.
            os.close(writing)
            code = 0
        except BaseException as fault:  # noqa: BLE001 - the child ends here, whatever happens
            os.write(2, type(fault).__name__.encode())
        finally:
            # Not even exit handlers are run twice.
            os._exit(code)


class _Child:
    """A child as its parent sees it."""

    def __init__(self, pid: int, asking: int, reading: int, last_words: int) -> None:
        self._pid = pid
        # As files, which may be closed more than once.
        self._asking = os.fdopen(asking, "wb", buffering=0)
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._last_words = os.fdopen(last_words, "rb", buffering=0)
        self._is_reaped = False

    def hear(self, frame: bytes, deadline: float) -> bool:
        """Gives it what it is asked, until `deadline` of the monotonic clock; False if it is dead.

        Only an end tells it that it has heard all: what is cut is never worked on.
        """
        asking = self._asking.fileno()
        os.set_blocking(asking, False)
        rest = memoryview(frame)
        try:
            while rest and _ready(asking, select.POLLOUT, deadline - time.monotonic()):
                rest = rest[os.write(asking, rest) :]
        except BrokenPipeError:
            return False
        if not rest:
            self._asking.close()
        return True

    def outcome(self, deadline: float) -> Outcome:
        """Waits until it has answered or ended, or ends it at `deadline` of the monotonic clock."""
        said = _read(self._reading.fileno(), deadline)
        if said is None:
            self.kill()
        elif len(said) >= _HEAD.size:
            size, resident = _HEAD.unpack_from(said)
            if len(said) == _HEAD.size + size:
                return Outcome(said[_HEAD.size :], None, resident)
        status, resident = self._reaped()
        if said is None:
            return Outcome(b"", Death.WAIT, resident)
        last_words = os.pread(self._last_words.fileno(), _LAST_WORDS_BYTES, 0)
        return Outcome(b"", _death(os.waitstatus_to_exitcode(status), last_words), resident)

    def kill(self) -> None:
        """Ends it at once. Its process id is its own until it is buried."""
        os.kill(self._pid, signal.SIGKILL)

    def bury(self) -> None:
        """Waits for its end, and lets go of all that is left of it."""
        self._asking.close()
        if not self._is_reaped:
            self._reaped()
        self._reading.close()
        self._last_words.close()

    def _reaped(self) -> tuple[int, int]:
        _, status, usage = os.wait4(self._pid, 0)
        self._is_reaped = True
        return status, usage.ru_maxrss * 1024


def _read(pipe: int, deadline: float) -> bytes | None:
    """All that comes until the other end is closed; None if that takes too long."""
    parts: list[bytes] = []
    while _ready(pipe, select.POLLIN, deadline - time.monotonic()):
        part = os.read(pipe, _READ_BYTES)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _ready(pipe: int, event: int, seconds: float) -> bool:
    """Whether a pipe can be read or written, or has lost its other end, within some seconds."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(max(0.0, seconds) * 1e3))


def _death(code: int, said: bytes) -> Death:
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
