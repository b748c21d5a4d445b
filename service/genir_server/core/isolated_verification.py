"""Verifies texts in worker processes, for checks that may take long. The server's side.

`verification_worker` is the side of the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.core.verification_worker import Check, decode_verdict
from genir_server.core.verify import Verdict
from genir_server.domain.errors import Reason
from genir_server.domain.types import Violation
from genir_server.schema.isolation.job import Failure, WorkerConfiguration
from genir_server.schema.isolation.pool import PoolLimits, WorkerPool
from genir_server.schema.verify.verifier import MAX_VIOLATIONS

if TYPE_CHECKING:
    from genir_server.domain.types import FinishReason
    from genir_server.schema.isolation.pool import PoolCounters
    from genir_server.schema.types import VerifierSource

_WORKER = "genir_server.core.verification_worker"
_EXHAUSTED = {
    Failure.CPU_TIME: "checking the value against the schema takes too long",
    Failure.MEMORY: "checking the value against the schema takes too much memory",
    Failure.STACK: "checking the value against the schema runs out of stack: value and schema "
    "together nest too deep",
}


@dataclass(frozen=True, slots=True)
class VerificationLimits:
    """Limits on the check of one value in a worker process.

    Attributes:
        quick_seconds: processor time of a check before it moves to the worker for slow checks.
        cpu_seconds: processor time of a check. A value that takes longer counts as invalid.
        wall_seconds: time by the clock, waiting for workers included.
        max_slow_per_caller: slow checks of one caller that may wait or run; further ones are
            refused as OVERLOADED.
        memory_bytes: memory that one check may take.
        cached_bytes: memory for compiled schemas that each worker keeps for later checks.
    """

    quick_seconds: float = 0.1
    cpu_seconds: float = 0.5
    wall_seconds: float = 20.0
    max_slow_per_caller: int = 4
    memory_bytes: int = 1 << 30
    cached_bytes: int = 32 << 20


class IsolatedVerification:
    """One worker process that checks values, and one more for values that take long.

    Args:
        limits: limits on the check of one value.
    """

    def __init__(self, limits: VerificationLimits | None = None) -> None:
        limits = limits or VerificationLimits()
        self._pool = WorkerPool(
            WorkerConfiguration(
                _WORKER, {"cached_bytes": limits.cached_bytes}, memory_bytes=limits.memory_bytes
            ),
            PoolLimits(
                quick_seconds=limits.quick_seconds,
                cpu_seconds=limits.cpu_seconds,
                wall_seconds=limits.wall_seconds,
                max_slow_per_caller=limits.max_slow_per_caller,
            ),
            purpose="check the value",
        )

    @property
    def counters(self) -> PoolCounters:
        """What happened in the workers since the start."""
        return self._pool.counters

    async def start(self) -> None:
        """Starts the worker for quick checks and waits until it is warm. The other starts late.

        Raises:
            OSError: the process cannot be started.
            RuntimeError: the worker does not start; the message says why.
        """
        await self._pool.start(slow=False)

    async def close(self) -> None:
        """Ends the processes. May be called more than once."""
        await self._pool.close()

    async def verdict(
        self, raw: str, finish_reason: FinishReason | None, source: VerifierSource, caller: str
    ) -> Verdict:
        """The verdict on a text, with up to 50 violations.

        Listing all violations may take long where finding one does not. So the first is found
        first, and it is the only one if the list cannot be had.

        A check that runs out of processor time, memory or stack counts as invalid, and the
        violation says what ran out: another value, or a simpler schema, may pass. A process that
        ends for another reason says nothing about the value. It is a fault of the server.

        Args:
            raw: the finished text.
            finish_reason: why the engine stopped.
            source: what the verifier is compiled from.
            caller: whose call it is; callers that wait share the workers fairly.

        Raises:
            GenirError: OVERLOADED; the machine is too busy, or too many slow checks of this caller
                are waiting. DRAINING; the server is shutting down.
            RuntimeError: the process that checks crashed, so nothing is known about the text. The
                caller gets INTERNAL.
        """
        first = Check(raw, finish_reason, source, 1)
        result = await self._pool.run(first.encode(), caller)
        if result.failure is not None:
            return _failed(result.failure)
        verdict = decode_verdict(result.body)
        if not verdict.violations:
            return verdict
        every = Check(raw, finish_reason, source, MAX_VIOLATIONS)
        result = await self._pool.run(every.encode(), caller)
        return verdict if result.failure is not None else decode_verdict(result.body)


def _failed(failure: Failure) -> Verdict:
    """The verdict on a text whose check did not end.

    Raises:
        RuntimeError: the process crashed.
    """
    if failure not in _EXHAUSTED:
        raise RuntimeError("the process that checks values crashed")
    violation = Violation("", "", "", _EXHAUSTED[failure])
    return Verdict(reason=Reason.VALIDATION_FAILED, violations=(violation,))
