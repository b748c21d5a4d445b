"""Runs each job in a child forked from a warm process.

A child starts within about a millisecond with everything its parent has loaded. It may run out of
time, memory or stack: the parent is not affected, and all that the child allocated is freed.
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
from typing import TYPE_CHECKING

from genir_server.schema.isolation.job import Failure, Job, JobResult

if TYPE_CHECKING:
    from genir_server.schema.isolation.job import Handler

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 1 << 16
_OUT_OF_MEMORY_MESSAGES = (b"memory allocation", b"MemoryError", b"out of memory")
_OUT_OF_STACK_SIGNALS = (-signal.SIGSEGV, -signal.SIGBUS)
_MAX_STDERR_BYTES = 4_096
# A child's answer begins with the length of its body and its peak memory.
_ANSWER_HEADER = struct.Struct(">QQ")
_EXIT_FAILED = 70
# A job that takes longer runs with a lower priority from then on: it has a third of the share of
# the engine and of other jobs where the cores do not suffice.
_URGENT_SECONDS = 0.1
_NICER = 5
_MAX_NICENESS = 19
_WARM_UP_AFTER_SECONDS = 0.5


class ForkedChildren:
    """Runs jobs one after the other, each in a child process of its own.

    The next child is forked before its job arrives, so that no job waits for the fork. A child
    that stays idle for a while runs the handler's warm-up: first-time work is slow, because only
    then does the kernel give the child memory of its own. Use in processes with one thread only,
    because of the fork.

    Args:
        handler: what is done with a job.
        memory_bytes: address space that a child may add to what it has when its job starts.
        warm_up_after_seconds: how long a child stays idle before its warm-up.

    """

    def __init__(
        self,
        handler: Handler,
        *,
        memory_bytes: int,
        warm_up_after_seconds: float = _WARM_UP_AFTER_SECONDS,
    ) -> None:
        self._handler = handler
        self._memory_bytes = memory_bytes
        self._warm_up_after_seconds = warm_up_after_seconds
        self._next: _Child | None = None
        self._previous: _Child | None = None

    def fork_ahead(self) -> None:
        """Forks the next child if there is none, and reaps the previous one."""
        self._release_previous()
        self._next = self._next or self._fork()

    def run(self, job: Job) -> JobResult:
        """Runs a job in the next child and waits for its result.

        A child that exceeds its processor time is killed by a signal, even inside native code.
        """
        deadline = time.monotonic() + job.wall_seconds
        self._release_previous()
        child, self._next = self._next or self._fork(), None
        data = job.encode()
        if not child.send(data, deadline):
            # It died while it was idle.
            child.release()
            child = self._fork()
            child.send(data, deadline)
        self._previous = child
        return child.result(deadline)

    def close(self) -> None:
        """Ends the idle child."""
        self._release_previous()
        idle, self._next = self._next, None
        if idle is not None:
            idle.kill()
            idle.release()

    def _release_previous(self) -> None:
        previous, self._previous = self._previous, None
        if previous is not None:
            previous.release()

    def _fork(self) -> _Child:
        job_read, job_write = os.pipe()
        answer_read, answer_write = os.pipe()
        stderr = os.memfd_create("stderr")
        pid = os.fork()
        if pid == 0:
            os.close(job_write)
            os.close(answer_read)
            self._run_child(job_read, answer_write, stderr)
        os.close(job_read)
        os.close(answer_write)
        return _Child(pid, job_write, answer_read, stderr)

    def _run_child(self, job_read: int, answer_write: int, stderr: int) -> None:
        """The whole life of a child process. Never returns."""
        code = _EXIT_FAILED
        try:
            # A child must not outlive the worker that waits for it.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(stderr, 2)
            os.dup2(stderr, 1)
            warm_up = self._handler.warm_up
            if warm_up is not None and not _ready(
                job_read, select.POLLIN, self._warm_up_after_seconds
            ):
                # An operator's limits may refuse the warm-up; that says nothing about the job.
                with contextlib.suppress(Exception):
                    warm_up()
            parts: list[bytes] = []
            while part := os.read(job_read, _READ_BYTES):
                parts.append(part)
            if not parts:
                return
            job = Job.decode(b"".join(parts))
            limit = self._memory_bytes + _address_space_bytes()
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.setitimer(signal.ITIMER_PROF, job.cpu_seconds)
            body = self._handler.handle(job.body)
            signal.setitimer(signal.ITIMER_PROF, 0)
            resident_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answer = memoryview(_ANSWER_HEADER.pack(len(body), resident_bytes) + body)
            while answer:
                answer = answer[os.write(answer_write, answer) :]
            # Freeing a child's memory takes the kernel longer than many jobs take. Closing the
            # pipe first lets the parent go on.
            os.close(answer_write)
            code = 0
        except BaseException as fault:  # noqa: BLE001 - the child ends here in any case
            os.write(2, type(fault).__name__.encode())
        finally:
            # Skips exit handlers, which belong to the parent.
            os._exit(code)


class _Child:
    """A child process as its parent sees it."""

    def __init__(self, pid: int, job_write: int, answer_read: int, stderr: int) -> None:
        self._pid = pid
        # File objects, because closing one twice is harmless.
        self._job_pipe = os.fdopen(job_write, "wb", buffering=0)
        self._answer_pipe = os.fdopen(answer_read, "rb", buffering=0)
        self._stderr = os.fdopen(stderr, "rb", buffering=0)
        self._is_reaped = False

    def send(self, data: bytes, deadline: float) -> bool:
        """Sends the job until `deadline` (monotonic clock). False if the child is dead.

        The child starts only when the pipe is closed, so it never works on part of a job.
        """
        pipe = self._job_pipe.fileno()
        os.set_blocking(pipe, False)
        rest = memoryview(data)
        try:
            while rest and _ready(pipe, select.POLLOUT, deadline - time.monotonic()):
                rest = rest[os.write(pipe, rest) :]
        except BrokenPipeError:
            return False
        if not rest:
            self._job_pipe.close()
        return True

    def result(self, deadline: float) -> JobResult:
        """Waits for the answer or the child's end; kills it at `deadline` (monotonic clock)."""
        pipe = self._answer_pipe.fileno()
        if not _ready(pipe, select.POLLIN, min(_URGENT_SECONDS, deadline - time.monotonic())):
            niceness = min(_MAX_NICENESS, os.getpriority(os.PRIO_PROCESS, 0) + _NICER)
            # A container may forbid it.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._pid, niceness)
        answer = _read_all(pipe, deadline)
        if answer is None:
            self.kill()
        elif len(answer) >= _ANSWER_HEADER.size:
            size, resident_bytes = _ANSWER_HEADER.unpack_from(answer)
            if len(answer) == _ANSWER_HEADER.size + size:
                return JobResult(answer[_ANSWER_HEADER.size :], None, resident_bytes)
        status, resident_bytes = self._reap()
        if answer is None:
            return JobResult(b"", Failure.WALL_TIME, resident_bytes)
        stderr = os.pread(self._stderr.fileno(), _MAX_STDERR_BYTES, 0)
        failure = _failure(os.waitstatus_to_exitcode(status), stderr)
        return JobResult(b"", failure, resident_bytes)

    def kill(self) -> None:
        """Sends SIGKILL. The process id cannot be reused before `release`."""
        os.kill(self._pid, signal.SIGKILL)

    def release(self) -> None:
        """Waits until it has exited and closes its pipes."""
        self._job_pipe.close()
        if not self._is_reaped:
            self._reap()
        self._answer_pipe.close()
        self._stderr.close()

    def _reap(self) -> tuple[int, int]:
        """Its wait status and peak memory in bytes."""
        _, status, usage = os.wait4(self._pid, 0)
        self._is_reaped = True
        return status, usage.ru_maxrss * 1024


def _read_all(pipe: int, deadline: float) -> bytes | None:
    """Everything until the other end is closed; None if the deadline passes first."""
    parts: list[bytes] = []
    while _ready(pipe, select.POLLIN, deadline - time.monotonic()):
        part = os.read(pipe, _READ_BYTES)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _ready(pipe: int, event: int, seconds: float) -> bool:
    """Whether a pipe becomes ready for `event`, or its other end is closed, within some seconds."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(max(0.0, seconds) * 1e3))


def _failure(exit_code: int, stderr: bytes) -> Failure:
    if exit_code == -signal.SIGPROF:
        return Failure.CPU_TIME
    if any(message in stderr for message in _OUT_OF_MEMORY_MESSAGES):
        return Failure.MEMORY
    # Native code that runs out of stack dies of a signal, Python raises.
    if exit_code in _OUT_OF_STACK_SIGNALS or stderr.endswith(b"RecursionError"):
        return Failure.STACK
    return Failure.CRASH


def _address_space_bytes() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel's
        return int(statm.read().split()[0]) * resource.getpagesize()


if sys.platform != "linux":  # pragma: no cover
    raise ImportError("worker processes for callers' schemas need Linux")
