"""Notices an engine that stands still, by what moves: steps, and answers while it has no work.

An engine's own health flag says nothing here; a device that hangs leaves it green. What is looked
at is whether a step has finished since work came in. Prefill of a long prompt goes in chunks, each
a step, and compiling happens before the server is ready, so that neither looks like standing still
unless a single step takes longer than the bound.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.engine.protocol import Engine

_QUESTIONS_PER_BOUND = 4
_MAX_PAUSE_SECONDS = 10.0


class StallWatch:
    """Tells for how long an engine has owed a sign of life.

    An engine owes a finished step while it has requests, and at any time an answer to a question,
    which it is asked when no step has finished for a while. An answer is no excuse for a step: a
    loop may turn without getting anything done.

    Args:
        engine: the engine to watch.
        bound: seconds after which the caller will take it for stuck; sets how often it is asked.
        clock: seconds that never go back.

    """

    def __init__(
        self, engine: Engine, bound: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._pause = min(bound / _QUESTIONS_PER_BOUND, _MAX_PAUSE_SECONDS)
        self._last_step = engine.activity().last_step_time
        self._step_owed_since: float | None = None
        self._last_sign = clock()
        self._question: asyncio.Task[None] | None = None

    def silent_for(self) -> float:
        """Seconds for which a step or an answer has been owed; 0 where none is. Call it often."""
        now = self._clock()
        activity = self._engine.activity()
        stepped = activity.last_step_time != self._last_step
        self._last_step = activity.last_step_time
        if not (activity.running or activity.waiting):
            self._step_owed_since = None
        elif stepped or self._step_owed_since is None:
            self._step_owed_since = now
        answered = self._question is not None and self._question.done()
        if answered:
            self._question = None
        # While a question is open, the last sign is the moment at which it was asked.
        if stepped or answered:
            self._last_sign = now
        elif self._question is None and now - self._last_sign >= self._pause:
            self._question = asyncio.create_task(self._ask(), name="engine-answer")
            self._last_sign = now
        step_owed = 0.0 if self._step_owed_since is None else now - self._step_owed_since
        answer_owed = 0.0 if self._question is None else now - self._last_sign
        return max(step_owed, answer_owed)

    def close(self) -> None:
        """Stops waiting for an answer."""
        if self._question is not None:
            self._question.cancel()

    async def _ask(self) -> None:
        try:
            await self._engine.answer()
        except Exception:  # noqa: BLE001 - a dead engine is noticed elsewhere, by its death.
            return
