"""Checks values in worker processes, for schemas whose validation time may be exponential.

Both sides: the server's and the worker's.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from genir_server.domain.types import Violation
from genir_server.schema.isolation.job import Handler, WorkerConfiguration
from genir_server.schema.isolation.pool import PoolLimits, WorkerPool
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEMORY_BYTES = 1 << 30
_WALL_SECONDS = 20.0
_MAX_SLOW = 4
_TOO_LONG = "checking the value against the schema takes too long"


class IsolatedVerification:
    """One worker process that checks values, and one more for values that take long.

    Both start when they are first needed.

    Args:
        quick_seconds: processor time of a check in the first.
        cpu_seconds: processor time of a check in the second. A value that takes longer counts as
            invalid.

    """

    def __init__(self, quick_seconds: float = 0.1, cpu_seconds: float = 0.5) -> None:
        self._pool = WorkerPool(
            WorkerConfiguration(__name__, {}, memory_bytes=_MEMORY_BYTES),
            PoolLimits(
                quick_seconds=quick_seconds,
                cpu_seconds=cpu_seconds,
                wall_seconds=_WALL_SECONDS,
                max_slow=_MAX_SLOW,
            ),
            purpose="check the value",
        )

    async def violations(self, text: str, draft: Draft, value: object) -> list[Violation]:
        """Every way in which a value fails a schema, up to 50 of them.

        Raises:
            GenirError: OVERLOADED; the machine is too busy, or too many values that take long are
                waiting. DRAINING; the server is going down.

        """
        job = json.dumps({"schema": text, "draft": int(draft), "value": value}).encode()
        result = await self._pool.run(job)
        if result.failure is not None:
            return [Violation("", "", "", _TOO_LONG)]
        return [Violation(**violation) for violation in json.loads(result.body)]

    async def close(self) -> None:
        """Ends the processes. May be called more than once."""
        await self._pool.close()


class IsolatedVerifier:
    """A verifier for a schema whose validation time may be exponential.

    Attributes:
        may_block: always true; see `genir_server.schema.types.Verifier`.

    Args:
        verification: the processes.
        loop: the event loop that `verification` runs in.
        text: the schema.
        draft: the draft it is written in.

    """

    may_block = True

    def __init__(
        self,
        verification: IsolatedVerification,
        loop: asyncio.AbstractEventLoop,
        text: str,
        draft: Draft,
    ) -> None:
        self._verification = verification
        self._loop = loop
        self._text = text
        self._draft = draft

    def violations(self, value: object) -> list[Violation]:
        """Every way in which a value fails the schema, up to 50 of them.

        Blocks until a worker has checked the value, so it must not be called in the event loop's
        own thread.

        Raises:
            GenirError: see `IsolatedVerification.violations`.

        """
        check = self._verification.violations(self._text, self._draft, value)
        return asyncio.run_coroutine_threadsafe(check, self._loop).result()


def load_handler(_: Mapping[str, object]) -> Handler:
    """The worker's side."""
    return Handler(handle=_check)


def _check(body: bytes) -> bytes:
    request = json.loads(body)
    verifier = SchemaVerifier(request["schema"], Draft(request["draft"]))
    found = verifier.violations(request["value"])
    return json.dumps([asdict(violation) for violation in found]).encode()
