"""Worker processes that can be killed: whatever a schema does to one, the server lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from genir_server.core.errors import GenirError, Reason
from genir_server.schema.refusal import SchemaRefusedError, too_complex
from genir_server.schema.worker import out_of_memory

if TYPE_CHECKING:
    from pathlib import Path

    from genir_server.schema.limits import NarrowingBounds, SchemaLimits

_START_SECONDS = 120.0
_RETRY_SECONDS = 2.0
_RECYCLE_AFTER = 2_000
_RECYCLE_BYTES = 1 << 30
_OUT_OF_MEMORY_SIGNS = (b"memory allocation", b"MemoryError", b"out of memory")


@dataclass(slots=True)
class PoolCounters:
    """What the workers have been through since the start.

    Attributes:
        analysed: schemas that got an answer, refusals included.
        crashes: workers that died over a schema.
        timeouts: workers that were killed because a schema took too long.
        recycled: workers replaced because of their age or size.

    """

    analysed: int = 0
    crashes: int = 0
    timeouts: int = 0
    recycled: int = 0


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.served = 0
        self.resident = 0

    async def ask(self, body: bytes) -> bytes:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise BrokenPipeError
        stdin.write(len(body).to_bytes(4, "big") + body)
        await stdin.drain()
        head = await stdout.readexactly(4)
        return await stdout.readexactly(int.from_bytes(head, "big"))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class WorkerPool:
    """A fixed number of warm workers.

    Args:
        tokenizer: model folder or tokenizer file; None for single bytes.
        limits: what is refused.
        bounds: how far output is bounded.
        workers: processes, 1 and up.

    """

    def __init__(
        self,
        tokenizer: Path | str | None,
        limits: SchemaLimits,
        bounds: NarrowingBounds,
        workers: int,
    ) -> None:
        self._limits = limits
        self._count = max(1, workers)
        self._configuration = json.dumps(
            {
                "tokenizer": None if tokenizer is None else str(tokenizer),
                "limits": asdict(limits),
                "bounds": asdict(bounds),
            }
        ).encode()
        self._idle: asyncio.Queue[_Worker | None] = asyncio.Queue()
        self._all: set[_Worker] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.counters = PoolCounters()

    async def start(self) -> None:
        """Starts the workers and waits until they are warm.

        Raises:
            RuntimeError: a worker does not start; the message is its last output.

        """
        for worker in await asyncio.gather(*(self._spawn() for _ in range(self._count))):
            self._idle.put_nowait(worker)

    async def close(self) -> None:
        """Ends the workers. May be called more than once."""
        self._closed = True
        for task in list(self._replacing):
            task.cancel()
        for worker in list(self._all):
            await self._bury(worker)

    async def analyse(self, text: str) -> bytes:
        """The reply of a worker to a schema: JSON.

        Raises:
            SchemaRefusedError: SCHEMA_TOO_COMPLEX; the worker died of the schema, or took more
                processor time than `SchemaLimits.probe_seconds`.
            GenirError: OVERLOADED when `SchemaLimits.probe_wall_seconds` passed all the same;
                DRAINING when the server is going down.

        """
        worker = await self._idle.get()
        if self._closed:
            raise GenirError(Reason.DRAINING, "the server is going down")
        if worker is None:
            # A replacement did not start; try again rather than let callers wait for ever.
            worker = await self._spawn()
        healthy = False
        try:
            async with asyncio.timeout(self._limits.probe_wall_seconds):
                reply = await worker.ask(text.encode())
            healthy = True
        except TimeoutError:
            self.counters.timeouts += 1
            raise GenirError(
                Reason.OVERLOADED,
                "the machine is too busy to prepare the schema; try again",
                retry_after=_RETRY_SECONDS,
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._autopsy(worker) from None
        finally:
            self._return(worker, healthy=healthy)
        self.counters.analysed += 1
        return reply

    def _return(self, worker: _Worker, *, healthy: bool) -> None:
        worker.served += 1
        worn = worker.served >= _RECYCLE_AFTER or worker.resident > _RECYCLE_BYTES
        if healthy and not worn:
            self._idle.put_nowait(worker)
            return
        if healthy:
            self.counters.recycled += 1
        worker.kill()
        if not self._closed:
            task = asyncio.get_running_loop().create_task(self._replace(worker))
            self._replacing.add(task)
            task.add_done_callback(self._replacing.discard)

    async def _replace(self, worker: _Worker) -> None:
        await self._bury(worker)
        try:
            self._idle.put_nowait(await self._spawn())
        except (OSError, RuntimeError):
            self._idle.put_nowait(None)

    async def _bury(self, worker: _Worker) -> None:
        worker.kill()
        await worker.process.wait()
        self._all.discard(worker)

    async def _autopsy(self, worker: _Worker) -> SchemaRefusedError:
        """Why a worker died over a schema."""
        stderr = worker.process.stderr
        last = b"" if stderr is None else await stderr.read()
        status = await worker.process.wait()
        if status == -signal.SIGPROF:
            self.counters.timeouts += 1
            return too_complex(
                "Preparing the schema takes too long",
                "probe_seconds",
                self._limits.probe_seconds,
                f"more than {self._limits.probe_seconds:g}",
            )
        self.counters.crashes += 1
        if any(sign in last for sign in _OUT_OF_MEMORY_SIGNS):
            return out_of_memory(self._limits)
        return SchemaRefusedError(
            Reason.SCHEMA_TOO_COMPLEX,
            "The schema is too complex: the process that prepares it ran out of stack or memory",
            limit="worker",
        )

    async def _spawn(self) -> _Worker:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "genir_server.schema.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        worker = _Worker(process)
        self._all.add(worker)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker.ask(self._configuration)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            worker.kill()
            last = b"" if process.stderr is None else await process.stderr.read()
            await self._bury(worker)
            detail = last.decode(errors="replace")[-500:]
            raise RuntimeError(f"a schema worker did not start: {detail}") from None
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker
