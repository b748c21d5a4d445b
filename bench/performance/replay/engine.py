"""An engine that plays recordings back. A bench tool: it computes nothing.

All streams advance together, one token a step, as they do under continuous batching, so that every
stream's token is there at the same moment. What a caller has not fetched by then comes with the
next delta as one, as it does from vLLM.
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
        recordings: what to play, in turn.
        tokens_per_second: the pace of one stream; None hands out every token as soon as it is
            asked for.
    """

    def __init__(self, recordings: Sequence[Recording], tokens_per_second: float | None) -> None:
        self._recordings = itertools.cycle(recordings)
        self._clock = _StepClock(tokens_per_second) if tokens_per_second else None
        self._running = 0
        self._info = EngineInfo(EMBEDDED_MODEL_NAME, (), _CONTEXT, "guidance", tokenizer_source="")

    @property
    def info(self) -> EngineInfo:
        """What a server needs to know; the backend is that of the recorded run."""
        return self._info

    @property
    def effective_backend(self) -> str:
        """The backend of the recorded run."""
        return self._info.configured_backend

    @property
    def dead(self) -> bool:
        """Never."""
        return False

    def activity(self) -> EngineActivity:
        """The streams that play."""
        return EngineActivity(self._running, 0, time.time())

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """As many ids as there are bytes."""
        return list(range(sum(len(message.content.encode()) for message in messages)))

    async def tokenize(self, text: str) -> list[int]:
        """As many ids as there are bytes."""
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
        """It does not die."""
        await asyncio.sleep(seconds)
        return False

    async def answer(self) -> None:
        """At once: there is no other process."""

    def kill(self) -> None:
        """Nothing to end."""

    async def shutdown(self) -> None:
        """Nothing to end."""


class _StepClock:
    """Steps at a fixed pace. Whoever waits for a step wakes up when it, or a later one, is done."""

    def __init__(self, steps_per_second: float) -> None:
        self._pace = steps_per_second
        self._began = time.monotonic()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @property
    def step(self) -> int:
        """How many steps are done."""
        return int((time.monotonic() - self._began) * self._pace)

    async def reach(self, step: int) -> None:
        """Waits until a step is done."""
        if self.step >= step:
            return
        done = self._waiting.get(step)
        if done is None:
            loop = asyncio.get_running_loop()
            done = self._waiting[step] = loop.create_future()
            # A little late rather than early: what wakes up must find the step done.
            delay = self._began + step / self._pace - time.monotonic() + 1e-4
            loop.call_later(max(0.0, delay), self._finish, step)
        await asyncio.shield(done)

    def _finish(self, step: int) -> None:
        self._waiting.pop(step).set_result(None)
