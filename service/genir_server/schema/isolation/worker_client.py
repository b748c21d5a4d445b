"""A worker process as the server sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from genir_server.python_process import start_python, wait_and_reap_group
from genir_server.schema.isolation.framing import frame, read_frame_async
from genir_server.schema.isolation.job import JobResult

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from genir_server.schema.isolation.job import Job, WorkerConfiguration

WORKER_MODULE = "genir_server.schema.isolation.worker_main"
"""What a worker runs, an argument of its command line."""

_MAX_STDERR_BYTES = 4_096


class WorkerProcess:
    """A running worker.

    Attributes:
        pid: its process id.

    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stderr: int,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._reader = reader
        self._writer = writer
        self._stderr = stderr

    @classmethod
    async def start(cls, label: str = "", inherited: Sequence[int] = ()) -> WorkerProcess:
        """Starts a worker, with a socket as its standard input and output.

        Args:
            label: an argument of its command line, so that process lists show what it is for.
            inherited: descriptors that it gets under the same numbers.

        Raises:
            OSError: the process cannot be started.

        """
        ours, theirs = socket.socketpair()
        stderr = os.memfd_create("stderr")
        process: subprocess.Popen[bytes] | None = None
        try:
            with theirs:
                # In this thread: a cancelled `to_thread` would leave the process behind.
                process = start_python(
                    WORKER_MODULE,
                    label,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=stderr,
                    inherited=inherited,
                )
            return cls(process, *await asyncio.open_connection(sock=ours), stderr)
        except BaseException:
            ours.close()
            os.close(stderr)
            if process is not None:
                process.kill()
                wait_and_reap_group(process)
            raise

    async def configure(self, configuration: WorkerConfiguration) -> None:
        """Sends the configuration and waits until the worker is warm.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: the worker is gone.

        """
        await self._exchange(configuration.encode())

    async def run(self, job: Job) -> JobResult:
        """Runs a job and waits for its result.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: the worker is gone.

        """
        return JobResult.decode(await self._exchange(job.encode()))

    async def _exchange(self, body: bytes) -> bytes:
        try:
            self._writer.write(frame(body))
        except RuntimeError as fault:
            # uvloop's error for a connection whose other end is closed.
            raise BrokenPipeError from fault
        await self._writer.drain()
        return await read_frame_async(self._reader)

    def kill(self) -> None:
        """Sends SIGKILL, if it still runs."""
        self._process.kill()

    def stderr_tail(self) -> str:
        """The end of what it wrote to standard error; empty after `wait`."""
        if self._stderr < 0:
            return ""
        size = os.fstat(self._stderr).st_size
        start = max(0, size - _MAX_STDERR_BYTES)
        return os.pread(self._stderr, _MAX_STDERR_BYTES, start).decode(errors="replace")

    async def wait(self) -> int:
        """Waits until it has exited; gives its exit code. May be called more than once."""
        code = await asyncio.to_thread(wait_and_reap_group, self._process)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1
        return code
