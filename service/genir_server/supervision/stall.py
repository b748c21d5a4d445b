"""Detects a stalled engine by missing steps, and by missing answers while it has no work.

The engine's own health flag does not help: a device that hangs leaves it green. This watches
whether a step has finished since work arrived. The prefill of a long prompt runs in chunks, each a
step, and compilation happens before the server is ready. So neither looks like a stall, unless a
single step takes longer than the timeout.

Each data-parallel rank is watched by itself: one that hangs does not hide behind those that work.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.engine.protocol import Engine, RankActivity

_PINGS_PER_TIMEOUT = 4
_MAX_PING_INTERVAL_SECONDS = 10.0


@dataclass(slots=True)
class _Rank:
    """The progress of one rank, on the watch's clock.

    Attributes:
        last_step: the time of its last step, as it was reported.
        last_sign: when it last finished a step or answered.
        step_due_since: since when it has had work without finishing a step; None without work.
    """

    last_step: float | None
    last_sign: float
    step_due_since: float | None = None

    def see(self, activity: RankActivity, now: float) -> bool:
        """Notes what the rank reported; returns whether it has finished a step."""
        stepped = activity.last_step_time != self.last_step
        self.last_step = activity.last_step_time
        if stepped:
            self.last_sign = now
        if not (activity.running or activity.waiting):
            self.step_due_since = None
        elif stepped or self.step_due_since is None:
            self.step_due_since = now
        return stepped


class StallWatch:
    """Measures how long an engine has made no progress.

    A rank that has requests must finish steps. At any time every rank must answer pings, which are
    sent when one of them has finished no step for a while. An answer does not count as a step: the
    engine's loop may run without getting any work done.

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
        now = clock()
        self._ranks = {
            rank.rank: _Rank(rank.last_step_time, now) for rank in engine.activity().ranks
        }
        self._in_transit_since: float | None = None
        self._ping: asyncio.Task[None] | None = None
        self._ping_sent = now
        self._silent_rank: int | None = None

    @property
    def subject(self) -> str:
        """What has been silent for longest: "The engine", or one of its ranks if it has several."""
        if self._silent_rank is None or len(self._ranks) == 1:
            return "The engine"
        return f"Rank {self._silent_rank} of the engine"

    def silent_for(self) -> float:
        """Seconds for which a step or an answer has been due; 0 if none is. Call it often."""
        now = self._clock()
        activity = self._engine.activity()
        stepped = False
        for each in activity.ranks:
            rank = self._ranks.setdefault(each.rank, _Rank(each.last_step_time, now))
            stepped = rank.see(each, now) or stepped
        # Nobody knows which rank a request on its way goes to, so any rank's step will do.
        if not activity.in_transit:
            self._in_transit_since = None
        elif stepped or self._in_transit_since is None:
            self._in_transit_since = now
        self._exchange_pings(now)
        silence = 0.0 if self._in_transit_since is None else now - self._in_transit_since
        self._silent_rank = None
        for number, rank in self._ranks.items():
            seconds = self._due(rank, now)
            if seconds > silence:
                silence, self._silent_rank = seconds, number
        return silence

    def close(self) -> None:
        """Stops waiting for an answer."""
        if self._ping is not None:
            self._ping.cancel()

    def _exchange_pings(self, now: float) -> None:
        if self._ping is not None and self._ping.done():
            self._ping = None
            for rank in self._ranks.values():
                rank.last_sign = now
        last_sign = min((rank.last_sign for rank in self._ranks.values()), default=now)
        if self._ping is None and now - last_sign >= self._ping_interval:
            self._ping = asyncio.create_task(self._await_answer(), name="engine-ping")
            self._ping_sent = now

    def _due(self, rank: _Rank, now: float) -> float:
        """Seconds for which a step or an answer of the rank has been due."""
        step_due = 0.0 if rank.step_due_since is None else now - rank.step_due_since
        # A rank that has finished a step since the ping was sent is not what the answer waits for.
        answer_due = 0.0 if self._ping is None else now - max(rank.last_sign, self._ping_sent)
        return max(step_due, answer_due)

    async def _await_answer(self) -> None:
        try:
            await self._engine.answer()
        except Exception:  # noqa: BLE001 - the supervisor notices a dead engine.
            return
