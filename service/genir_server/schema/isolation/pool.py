"""Worker processes for callers' schemas: whatever a schema does, the server and others live on.

Most schemas take a few milliseconds. One that takes longer than `SchemaLimits.quick_seconds` starts
again in a worker that is kept for such schemas, so that however many of them there are, others wait
for their first `quick_seconds` only. While another worker is free for those others, it has all its
time at once instead.
"""

from __future__ import annotations

import asyncio
import json
import resource
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.fair_queue import FairQueue
from genir_server.domain.types import Tightening
from genir_server.schema.errors import SchemaRefusedError, too_complex
from genir_server.schema.isolation.forked_child import Death
from genir_server.schema.isolation.worker_client import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from genir_server.schema.limits import NarrowingBounds, SchemaLimits

_START_SECONDS = 120.0
_RETRY_SECONDS = 2.0
_SILENCE_SECONDS = 20.0


@dataclass(slots=True)
class PoolCounters:
    """What the workers have been through since the start.

    Attributes:
        analysed: schemas that got an answer, refusals included.
        slow: schemas that had only `SchemaLimits.quick_seconds` at first and took longer.
        crashes: schemas over which a process died for want of stack or memory.
        timeouts: schemas that took too long.
        replaced: workers that were out of order, or whose question was given up, and were replaced.

    """

    analysed: int = 0
    slow: int = 0
    crashes: int = 0
    timeouts: int = 0
    replaced: int = 0


class WorkerPool:
    """Warm workers: some for every schema, one more for those that take long.

    Args:
        tokenizer: model folder or tokenizer file; None for single bytes.
        limits: what is refused.
        bounds: how far output is bounded.
        workers: processes for every schema, 1 and up.
        for_xgrammar: whether the engine schemas have to suit the backend xgrammar.

    """

    def __init__(
        self,
        tokenizer: Path | str | None,
        limits: SchemaLimits,
        bounds: NarrowingBounds,
        workers: int,
        *,
        for_xgrammar: bool = False,
    ) -> None:
        self._limits = limits
        self._count = max(1, workers)
        self._configuration = json.dumps(
            {
                "tokenizer": None if tokenizer is None else str(tokenizer),
                "limits": asdict(limits),
                "bounds": asdict(bounds),
                "for_xgrammar": for_xgrammar,
            }
        ).encode()
        self._quick: FairQueue[WorkerProcess | None] = FairQueue()
        self._slow: FairQueue[WorkerProcess | None] = FairQueue()
        self._all: set[WorkerProcess] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.counters = PoolCounters()

    async def start(self) -> None:
        """Starts the workers and waits until they are warm.

        Raises:
            RuntimeError: a worker does not start; the message is its last output.

        """
        first, *others = await asyncio.gather(*(self._spawn() for _ in range(self._count + 1)))
        self._slow.put(first)
        for worker in others:
            self._quick.put(worker)

    async def close(self) -> None:
        """Ends the workers. May be called more than once."""
        self._closed = True
        for task in list(self._replacing):
            task.cancel()
        for worker in list(self._all):
            await self._bury(worker)

    async def analyse(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> bytes:
        """The reply of a worker to a schema: JSON. Callers who wait for a worker get one in turns.

        Raises:
            SchemaRefusedError: SCHEMA_TOO_COMPLEX; the schema takes more processor time than
                `SchemaLimits.probe_seconds`, or more memory or stack than there is.
            GenirError: OVERLOADED when `SchemaLimits.probe_wall_seconds` passed in waiting for
                workers and in their work, all together; DRAINING when the server is going down.

        """
        deadline = asyncio.get_running_loop().time() + self._limits.probe_wall_seconds
        quick = min(self._limits.quick_seconds, self._limits.probe_seconds)
        # How a worker is asked: `genir_server.schema.isolation.worker_main`.
        question = f"{tightening.value}\n{text}"
        most = self._limits.probe_seconds
        async with self._turn(self._quick, caller, deadline) as worker:
            seconds = most if self._quick.free else quick
            reply = await self._ask(worker, question, seconds, deadline)
        death = _death(reply)
        if death is Death.TIME and seconds < most:
            self.counters.slow += 1
            async with self._turn(self._slow, caller, deadline) as worker:
                reply = await self._ask(worker, question, most, deadline)
            death = _death(reply)
        self.counters.analysed += 1
        if death is not None:
            raise self._refusal(death)
        return reply

    @asynccontextmanager
    async def _turn(
        self, queue: FairQueue[WorkerProcess | None], caller: str, deadline: float
    ) -> AsyncIterator[WorkerProcess]:
        """The next free worker of a queue; it goes back there, or another one if it is broken."""
        try:
            # Who waits that long had better try elsewhere.
            async with asyncio.timeout_at(deadline):
                worker = await queue.get(caller)
        except TimeoutError:
            raise _overloaded() from None
        if self._closed:
            raise GenirError(Reason.DRAINING, "the server is going down")
        if worker is None:
            # A replacement did not start; try again rather than let callers wait for ever.
            self._replace_soon(queue, None)
            raise _overloaded()
        healthy = False
        try:
            yield worker
            healthy = True
        finally:
            self._return(queue, worker, healthy=healthy)

    async def _ask(
        self, worker: WorkerProcess, question: str, seconds: float, deadline: float
    ) -> bytes:
        """What a worker replies before the event loop's clock is at `deadline`."""
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            # A worker itself sees to the limits: one that keeps silent is out of order.
            async with asyncio.timeout(left + _SILENCE_SECONDS):
                return await worker.ask(f"{seconds} {left} {question}".encode())
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            raise _overloaded() from None

    def _return(
        self, queue: FairQueue[WorkerProcess | None], worker: WorkerProcess, *, healthy: bool
    ) -> None:
        if healthy:
            queue.put(worker)
            return
        worker.kill()
        if not self._closed:
            self.counters.replaced += 1
            self._replace_soon(queue, worker)

    def _replace_soon(
        self, queue: FairQueue[WorkerProcess | None], worker: WorkerProcess | None
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._replace(queue, worker))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(
        self, queue: FairQueue[WorkerProcess | None], worker: WorkerProcess | None
    ) -> None:
        if worker is not None:
            await self._bury(worker)
        try:
            queue.put(await self._spawn())
        except (OSError, RuntimeError):
            queue.put(None)

    async def _bury(self, worker: WorkerProcess) -> None:
        worker.kill()
        await worker.wait()
        self._all.discard(worker)

    def _refusal(self, death: Death) -> SchemaRefusedError | GenirError:
        limits = self._limits
        if death is Death.WAIT:
            return _overloaded()
        if death is Death.TIME:
            self.counters.timeouts += 1
            return too_complex(
                "Preparing the schema takes too long",
                "probe_seconds",
                limits.probe_seconds,
            )
        self.counters.crashes += 1
        if death is Death.MEMORY:
            return too_complex(
                "Preparing the schema takes too much memory",
                "probe_bytes",
                limits.probe_bytes,
            )
        most = _stack_bytes(limits.probe_bytes)
        return SchemaRefusedError(
            Reason.SCHEMA_TOO_COMPLEX,
            "The schema is too complex: the process that prepares it died, most likely for want "
            f"of stack, of which it has {most} bytes",
            pointer="",
            limit="worker",
            max=str(most),
        )

    async def _spawn(self) -> WorkerProcess:
        worker = await WorkerProcess.start()
        self._all.add(worker)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker.ask(self._configuration)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            worker.kill()
            detail = worker.last_words()[-500:]
            await self._bury(worker)
            raise RuntimeError(f"a schema worker did not start: {detail}") from None
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker


def _stack_bytes(memory: int) -> int:
    """The stack of a worker's child: bounded as this process's is, and by the child's memory."""
    most, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return memory if most == resource.RLIM_INFINITY else min(most, memory)


def _overloaded() -> GenirError:
    return GenirError(
        Reason.OVERLOADED,
        "the machine is too busy to prepare the schema; try again",
        retry_after=_RETRY_SECONDS,
    )


def _death(reply: bytes) -> Death | None:
    # Analyses are large: only what begins as a death is read here.
    if not reply.startswith(b'{"death"'):
        return None
    return Death(json.loads(reply)["death"])
