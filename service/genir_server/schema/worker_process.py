"""A worker process as the server sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

_LAST_WORDS_BYTES = 4_096


class WorkerProcess:
    """A running worker.

    It is started by `subprocess`, which uses vfork. The event loop's own way is a plain fork, and
    gRPC has handlers on that which start threads of gRPC's in the child before it becomes another
    program: a child was seen to die of that.

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
        with there:
            # Blocks for a few milliseconds, until it has become another program. In a thread it
            # could be left behind by whoever stops waiting for it.
            process = subprocess.Popen(  # noqa: ASYNC220 - see above
                [sys.executable, "-m", "genir_server.schema.worker"],
                stdin=there.fileno(),
                stdout=there.fileno(),
                stderr=last_words,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        try:
            return cls(process, *await asyncio.open_connection(sock=here), last_words)
        except BaseException:
            here.close()
            process.kill()
            process.wait()
            os.close(last_words)
            raise

    async def ask(self, body: bytes) -> bytes:
        """Sends a frame and gives the body of the frame that comes back.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: the worker is gone.

        """
        self._writer.write(len(body).to_bytes(4, "big") + body)
        await self._writer.drain()
        head = await self._reader.readexactly(4)
        return await self._reader.readexactly(int.from_bytes(head, "big"))

    def kill(self) -> None:
        """Sends SIGKILL, if it still runs."""
        self._process.kill()

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        size = os.fstat(self._last_words).st_size
        start = max(0, size - _LAST_WORDS_BYTES)
        return os.pread(self._last_words, _LAST_WORDS_BYTES, start).decode(errors="replace")

    async def wait(self) -> int:
        """Its exit code, when it has ended. May be called more than once."""
        code = await asyncio.to_thread(self._process.wait)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        if self._last_words >= 0:
            os.close(self._last_words)
            self._last_words = -1
        return code
