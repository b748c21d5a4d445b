"""A replay engine: it plays recordings back and computes nothing. A bench tool.

All streams advance together, one token a step, as under continuous batching, so the tokens of all
streams arrive at the same moment. Tokens that a caller has not fetched yet are merged into the next
delta, as in vLLM.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from bench.performance.replay.recording import recording
from genir_server.domain.types import FinishReason, TextDelta
from genir_server.engine.config import EMBEDDED_MODEL_NAME
from genir_server.engine.protocol import (
    EngineActivity,
    EngineInfo,
    EngineRequest,
    RankActivity,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench.performance.replay.recording import Recording
    from genir_server.domain.types import Message

_CONTEXT = 1 << 16
_CANARY = recording(["{", '"intent":{', '"summary":"', "It plays recordings.", '"}', "}"])


class ReplayEngine:
    """Answers each request with the next recording.

    Args:
        recordings: the recordings to play, in order.
        tokens_per_second: pace of one stream. None delivers every token as soon as it is
            requested.
    """

    def __init__(self, recordings: Sequence[Recording], tokens_per_second: float | None) -> None:
        self._recordings = itertools.cycle(recordings)
        self._clock = _StepClock(tokens_per_second) if tokens_per_second else None
        self._running = 0
        self._info = EngineInfo(EMBEDDED_MODEL_NAME, (), _CONTEXT, "guidance")

    @property
    def info(self) -> EngineInfo:
        """Facts about the engine. The backend is that of the recorded run."""
        return self._info

    @property
    def effective_backend(self) -> str:
        """The backend of the recorded run."""
        return self._info.configured_backend

    @property
    def dead(self) -> bool:
        """Always false."""
        return False

    def activity(self) -> EngineActivity:
        """Counts the streams that are playing."""
        rank = RankActivity(
            running=self._running, last_step_time=time.time(), backend=self.effective_backend
        )
        return EngineActivity((rank,))

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """One token id for each byte."""
        return list(range(sum(len(message.content.encode()) for message in messages)))

    async def tokenize(self, text: str) -> list[int]:
        """One token id for each byte."""
        return list(range(len(text.encode())))

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        """Plays one recording."""
        canary = request.request_id.startswith("canary-")
        played = _CANARY if canary else next(self._recordings)
        clock = self._clock
        self._running += 1
        try:
            begin = clock.step if clock else 0
            sent = 0
            while sent < played.tokens:
                wanted = 1 if sent == 0 else request.tokens_per_delta
                upto = min(sent + wanted, played.tokens)
                if clock:
                    await clock.reach(begin + upto)
                    upto = min(clock.step - begin, played.tokens)
                yield TextDelta(
                    played.between(sent, upto),
                    upto - sent,
                    FinishReason.STOP if upto == played.tokens else None,
                    cached_prompt_tokens=0,
                    queue_seconds=0.0,
                )
                sent = upto
        finally:
            self._running -= 1

    async def wait_dead(self, seconds: float) -> bool:
        """Never dies."""
        await asyncio.sleep(seconds)
        return False

    async def answer(self) -> None:
        """Answers at once: there is no other process."""

    def kill(self) -> None:
        """Does nothing."""

    async def shutdown(self) -> None:
        """Does nothing."""


class _StepClock:
    """Steps at a fixed pace. Waiters wake up when their step, or a later one, is done."""

    def __init__(self, steps_per_second: float) -> None:
        self._pace = steps_per_second
        self._began = time.monotonic()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int((time.monotonic() - self._began) * self._pace)

    async def reach(self, step: int) -> None:
        """Waits until a step is done."""
        if self.step >= step:
            return
        done = self._waiting.get(step)
        if done is None:
            loop = asyncio.get_running_loop()
            done = self._waiting[step] = loop.create_future()
            # Sleep slightly too long, so that the step is done when the sleeper wakes.
            delay = self._began + step / self._pace - time.monotonic() + 1e-4
            loop.call_later(max(0.0, delay), self._finish, step)
        await asyncio.shield(done)

    def _finish(self, step: int) -> None:
        self._waiting.pop(step).set_result(None)
