"""A worker process as the server sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from genir_server.python_process import start_python, wait_for_all

if TYPE_CHECKING:
    import subprocess

_LAST_WORDS_BYTES = 4_096


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
        last_words: int,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._reader = reader
        self._writer = writer
        self._last_words = last_words

    @classmethod
    async def start(cls) -> WorkerProcess:
        """Starts a worker, with a socket for its standard input and output."""
        here, there = socket.socketpair()
        last_words = os.memfd_create("last-words")
        process: subprocess.Popen[bytes] | None = None
        try:
            with there:
                # Not in a thread, where whoever stops waiting for it would leave it behind.
                process = start_python(
                    "genir_server.schema.isolation.worker_main",
                    stdin=there.fileno(),
                    stdout=there.fileno(),
                    stderr=last_words,
                )
            return cls(process, *await asyncio.open_connection(sock=here), last_words)
        except BaseException:
            here.close()
            os.close(last_words)
            if process is not None:
                process.kill()
                wait_for_all(process)
            raise

    async def ask(self, body: bytes) -> bytes:
        """Sends a frame and gives the body of the frame that comes back.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: the worker is gone.

        """
        try:
            self._writer.write(len(body).to_bytes(4, "big") + body)
        except RuntimeError as fault:
            # What uvloop says of a connection whose other end is gone.
            raise BrokenPipeError from fault
        await self._writer.drain()
        head = await self._reader.readexactly(4)
        return await self._reader.readexactly(int.from_bytes(head, "big"))

    def kill(self) -> None:
        """Sends SIGKILL, if it still runs."""
        self._process.kill()

    def last_words(self) -> str:
        """The end of what it wrote to standard error; nothing once its end was waited for."""
        if self._last_words < 0:
            return ""
        size = os.fstat(self._last_words).st_size
        start = max(0, size - _LAST_WORDS_BYTES)
        return os.pread(self._last_words, _LAST_WORDS_BYTES, start).decode(errors="replace")

    async def wait(self) -> int:
        """Its exit code, when it has ended. May be called more than once."""
        code = await asyncio.to_thread(wait_for_all, self._process)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        if self._last_words >= 0:
            os.close(self._last_words)
            self._last_words = -1
        return code
