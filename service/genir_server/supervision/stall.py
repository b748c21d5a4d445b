"""Detects a stalled engine by missing steps, and by missing answers while it has no work.

The engine's own health flag does not help: a device that hangs leaves it green. This watches
whether a step has finished since work arrived. The prefill of a long prompt runs in chunks, each a
step, and compilation happens before the server is ready. So neither looks like a stall, unless a
single step takes longer than the timeout.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.engine.protocol import Engine

_PINGS_PER_TIMEOUT = 4
_MAX_PING_INTERVAL_SECONDS = 10.0


class StallWatch:
    """Measures how long an engine has made no progress.

    An engine that has requests must finish steps. At any time it must answer pings, which are sent
    when no step has finished for a while. An answer does not count as a step: the engine's loop may
    run without getting any work done.

    Args:
        engine: the engine to watch.
        timeout: seconds after which the engine will count as stalled; sets the ping interval.
        clock: a monotonic clock, in seconds.

    """

    def __init__(
        self, engine: Engine, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._ping_interval = min(timeout / _PINGS_PER_TIMEOUT, _MAX_PING_INTERVAL_SECONDS)
        self._last_step = engine.activity().last_step_time
        self._step_due_since: float | None = None
        self._last_event = clock()
        self._ping: asyncio.Task[None] | None = None

    def silent_for(self) -> float:
        """Seconds for which a step or an answer has been due; 0 if none is. Call it often."""
        now = self._clock()
        activity = self._engine.activity()
        stepped = activity.last_step_time != self._last_step
        self._last_step = activity.last_step_time
        if not (activity.running or activity.waiting):
            self._step_due_since = None
        elif stepped or self._step_due_since is None:
            self._step_due_since = now
        answered = self._ping is not None and self._ping.done()
        if answered:
            self._ping = None
        # While a ping is unanswered, the last event is the sending of it.
        if stepped or answered:
            self._last_event = now
        elif self._ping is None and now - self._last_event >= self._ping_interval:
            self._ping = asyncio.create_task(self._await_answer(), name="engine-ping")
            self._last_event = now
        step_due = 0.0 if self._step_due_since is None else now - self._step_due_since
        answer_due = 0.0 if self._ping is None else now - self._last_event
        return max(step_due, answer_due)

    def close(self) -> None:
        """Stops waiting for an answer."""
        if self._ping is not None:
            self._ping.cancel()

    async def _await_answer(self) -> None:
        try:
            await self._engine.answer()
        except Exception:  # noqa: BLE001 - the supervisor notices a dead engine.
            return
