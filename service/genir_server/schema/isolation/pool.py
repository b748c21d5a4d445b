"""A pool of worker processes for jobs on callers' data.

Most jobs take a few milliseconds. A job that takes longer than `PoolLimits.quick_seconds` starts
again in one extra worker reserved for slow jobs, so however many slow jobs there are, other jobs
wait no longer than their first `quick_seconds`. If another worker is free for the same caller when
a job starts, the job is not cut short at `quick_seconds`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.fair_queue import FairQueue
from genir_server.schema.isolation.job import Failure, Job
from genir_server.schema.isolation.worker_client import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genir_server.schema.isolation.job import JobResult, WorkerConfiguration

_START_SECONDS = 120.0
_RETRY_SECONDS = 2.0
# A worker enforces the limits of its jobs itself. One that stays silent this much longer is broken.
_SILENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of a job in a pool.

    Attributes:
        quick_seconds: processor time before a job moves to the worker for slow jobs.
        cpu_seconds: processor time of a job.
        wall_seconds: time by the clock for a job, waiting for workers included.
        max_slow_per_caller: jobs of one caller that may wait for the worker for slow jobs or run
            there; further ones are refused at once. None for no limit.

    """

    quick_seconds: float
    cpu_seconds: float
    wall_seconds: float
    max_slow_per_caller: int | None = None


@dataclass(slots=True)
class PoolCounters:
    """What happened in a pool since its start.

    Attributes:
        jobs: jobs that ended, failures included.
        slow: jobs that moved to the worker for slow jobs.
        crashes: jobs whose process ran out of memory or died.
        timeouts: jobs that used all their processor time.
        replaced: workers that were replaced because they broke.

    """

    jobs: int = 0
    slow: int = 0
    crashes: int = 0
    timeouts: int = 0
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class _Turn:
    """A caller's use of a worker, which goes back to its queue."""

    caller: str
    queue: FairQueue[WorkerProcess | None]
    worker: WorkerProcess


class WorkerPool:
    """Worker processes that share jobs, and one extra worker for slow jobs.

    Workers start when they are first needed, or all at once by `start`. Callers that wait for a
    worker get fair shares of its time; see `FairQueue`.

    Args:
        configuration: what the workers do.
        limits: limits of a job.
        workers: processes for all jobs, 1 and up.
        purpose: what the jobs do, for messages to callers: "the machine is too busy to …".
        inherited: descriptors that the workers get under the same numbers.

    """

    def __init__(
        self,
        configuration: WorkerConfiguration,
        limits: PoolLimits,
        *,
        workers: int = 1,
        purpose: str,
        inherited: Sequence[int] = (),
    ) -> None:
        self._configuration = configuration
        self._limits = limits
        self._purpose = purpose
        self._inherited = inherited
        # None in a queue stands for a worker that has to be started.
        self._quick: FairQueue[WorkerProcess | None] = FairQueue(reserve=True)
        self._slow: FairQueue[WorkerProcess | None] = FairQueue()
        self._slots = [*[self._quick] * max(1, workers), self._slow]
        for queue in self._slots:
            queue.add(None)
        self._slow_jobs: Counter[str] = Counter()
        self._all: set[WorkerProcess] = set()
        self._starting: set[asyncio.Task[bool]] = set()
        self._running: set[asyncio.Task[JobResult]] = set()
        self._closed = False
        self.counters = PoolCounters()

    async def start(self, *, slow: bool = True) -> None:
        """Starts the workers and waits until they are warm. Call before the first `run`.

        Args:
            slow: whether the worker for slow jobs starts too, rather than when it is needed.

        Raises:
            OSError: a process cannot be started.
            RuntimeError: a worker does not start; the message is the end of its standard error.

        """
        slots = self._slots if slow else self._slots[:-1]
        await asyncio.gather(*(self._fill(queue) for queue in slots))

    async def close(self) -> None:
        """Ends the workers. May be called more than once."""
        self._closed = True
        for task in list(self._starting):
            task.cancel()
        for worker in list(self._all):
            await self._end(worker)

    async def run(
        self, body: bytes, caller: str = "", on_start: Callable[[], None] | None = None
    ) -> JobResult:
        """Runs a job and waits for its result.

        A caller that goes away leaves the queue. A job that runs already goes on to its end, so
        that callers that come and go cannot cost others a worker.

        Args:
            body: the input.
            caller: who sent it; callers that wait for a worker get fair shares of its time.
            on_start: called when a worker begins with the job.

        Returns:
            The result. Its failure is never `Failure.WALL_TIME`.

        Raises:
            GenirError: OVERLOADED when the job's time by the clock passes, its worker is lost, or
                too many slow jobs wait; DRAINING when the pool is closed.

        """
        limits = self._limits
        deadline = asyncio.get_running_loop().time() + limits.wall_seconds
        turn = await self._take_in_time(self._quick, caller, deadline)
        if on_start is not None:
            on_start()
        seconds = limits.cpu_seconds
        if self._quick.would_wait(caller):
            seconds = min(seconds, limits.quick_seconds)
        result = await self._run(turn, body, seconds, deadline)
        if result.failure is Failure.CPU_TIME and seconds < limits.cpu_seconds:
            result = await self._run_slow(body, caller, deadline)
        self.counters.jobs += 1
        if result.failure is Failure.WALL_TIME:
            raise self._overloaded()
        if result.failure is Failure.CPU_TIME:
            self.counters.timeouts += 1
        elif result.failure is not None:
            self.counters.crashes += 1
        return result

    async def _run_slow(self, body: bytes, caller: str, deadline: float) -> JobResult:
        maximum = self._limits.max_slow_per_caller
        if maximum is not None and self._slow_jobs[caller] >= maximum:
            raise GenirError(
                Reason.OVERLOADED,
                f"{maximum} of your slow jobs are waiting to {self._purpose}, the maximum per "
                "caller: try again later",
                retry_after=_RETRY_SECONDS,
                metadata={"max": str(maximum)},
            )
        self.counters.slow += 1
        self._slow_jobs[caller] += 1
        try:
            turn = await self._take_in_time(self._slow, caller, deadline)
            return await self._run(turn, body, self._limits.cpu_seconds, deadline)
        finally:
            self._slow_jobs[caller] -= 1
            if not self._slow_jobs[caller]:
                del self._slow_jobs[caller]

    async def _take_in_time(
        self, queue: FairQueue[WorkerProcess | None], caller: str, deadline: float
    ) -> _Turn:
        """The next free worker of a queue, until `deadline` (the event loop's clock)."""
        try:
            async with asyncio.timeout_at(deadline):
                return _Turn(caller, queue, await self._take(queue, caller))
        except TimeoutError:
            raise self._overloaded() from None

    async def _take(self, queue: FairQueue[WorkerProcess | None], caller: str) -> WorkerProcess:
        while True:
            worker = await queue.get(caller)
            if self._closed:
                # The next caller in the queue is refused as well.
                queue.put(None, caller)
                raise GenirError(Reason.DRAINING, "the server is shutting down")
            if worker is not None:
                return worker
            # In a task of its own: a caller that goes away must not interrupt the start.
            start = self._refill(queue, caller)
            await asyncio.wait({start})
            if not start.cancelled() and not start.result():
                raise self._overloaded()

    async def _run(
        self, turn: _Turn, body: bytes, cpu_seconds: float, deadline: float
    ) -> JobResult:
        """Runs a job until `deadline` (the event loop's clock)."""
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        job = Job(body, cpu_seconds, left)
        task = asyncio.get_running_loop().create_task(self._run_and_return(turn, job))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _run_and_return(self, turn: _Turn, job: Job) -> JobResult:
        """Runs a job. Its worker goes back to its queue, or is replaced if it is broken."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(job.wall_seconds + _SILENCE_SECONDS):
                result = await turn.worker.run(job)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            turn.worker.kill()
            self._replace(turn)
            raise self._overloaded() from None
        turn.queue.put(turn.worker, turn.caller, time.monotonic() - began)
        return result

    def _forget(self, task: asyncio.Task[JobResult]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # The caller may have gone away; then nobody else asks for the fault.
            task.exception()

    async def _fill(self, queue: FairQueue[WorkerProcess | None]) -> None:
        worker = await queue.get("")
        try:
            worker = worker or await self._spawn()
        finally:
            queue.put(worker, "")

    def _replace(self, turn: _Turn) -> None:
        if self._closed:
            turn.queue.put(None, turn.caller)
        else:
            self.counters.replaced += 1
            self._refill(turn.queue, turn.caller, turn.worker)

    def _refill(
        self,
        queue: FairQueue[WorkerProcess | None],
        caller: str,
        broken: WorkerProcess | None = None,
    ) -> asyncio.Task[bool]:
        """Starts a worker for a place in a queue that a caller has, and frees the place.

        The task says whether the worker did start.
        """

        async def refill() -> bool:
            worker: WorkerProcess | None = None
            try:
                if broken is not None:
                    await self._end(broken)
                worker = await self._spawn()
            except (OSError, RuntimeError):
                return False
            finally:
                # None if it did not start: the next job tries again.
                queue.put(worker, caller)
            return True

        task = asyncio.get_running_loop().create_task(refill())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return task

    async def _end(self, worker: WorkerProcess) -> None:
        worker.kill()
        await worker.wait()
        self._all.discard(worker)

    async def _spawn(self) -> WorkerProcess:
        worker = await WorkerProcess.start(self._configuration.handler_module, self._inherited)
        self._all.add(worker)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker.configure(self._configuration)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            worker.kill()
            detail = worker.stderr_tail()[-500:]
            await self._end(worker)
            raise RuntimeError(f"a worker process did not start: {detail}") from None
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker

    def _overloaded(self) -> GenirError:
        return GenirError(
            Reason.OVERLOADED,
            f"the machine is too busy to {self._purpose}; try again",
            retry_after=_RETRY_SECONDS,
        )
