"""Makes calls at a given concurrency."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.performance.subjects.base import Load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.performance.subjects.base import Call
    from bench.performance.workload import Case


async def make_calls(
    call: Callable[[Case], Awaitable[Call]],
    cases: list[Case],
    concurrency: int,
    cpu_seconds: Callable[[], float],
) -> Load:
    """Makes all calls, `concurrency` at a time. Each is followed by the next at once."""
    waiting = iter(cases)
    calls: list[Call] = []

    async def caller() -> None:
        for case in waiting:
            calls.append(await call(case))  # noqa: PERF401 - one at a time, shared by the callers.

    cpu, began = cpu_seconds(), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return Load(concurrency, time.monotonic() - began, cpu_seconds() - cpu, tuple(calls))
