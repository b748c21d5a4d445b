"""Shares the threads that render and tokenize among callers.

A prompt of a megabyte takes a tokenizer about a second. So callers get fair shares of the
threads' time, and large prompts take one turn at a time, which leaves a thread to small ones.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from genir_server.domain.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from genir_server.domain.types import GenerationRequest
    from genir_server.schema.types import PreparedSchema

LARGE_CHARACTERS = 32_768
"""Input and schema together of a large prompt."""
SMALL_TURNS = 2
_T = TypeVar("_T")


class PromptQueue:
    """Runs what renders and tokenizes prompts, a few at a time."""

    def __init__(self) -> None:
        self._small: FairQueue[None] = FairQueue()
        self._large: FairQueue[None] = FairQueue()
        for _ in range(SMALL_TURNS):
            self._small.add(None)
        self._large.add(None)
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, work: Coroutine[None, None, _T], caller: str, characters: int) -> _T:
        """Waits for the caller's turn and runs the work.

        A caller that goes away leaves the queue. Work that runs already goes on to its end: a
        thread cannot be interrupted, and its turn must not end before.

        Args:
            work: renders and tokenizes.
            caller: whose work it is; callers that wait get fair shares of the time.
            characters: the size of the text.
        """
        queue = self._large if characters > LARGE_CHARACTERS else self._small
        try:
            await queue.get(caller)
        except BaseException:
            work.close()
            raise
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        began = time.monotonic()
        task.add_done_callback(
            lambda done: self._ended(queue, done, caller, time.monotonic() - began)
        )
        return await asyncio.shield(task)

    def _ended(
        self, queue: FairQueue[None], task: asyncio.Task[_T], caller: str, seconds: float
    ) -> None:
        self._running.discard(task)
        queue.put(None, caller, seconds)
        if not task.cancelled():
            # The caller may have gone away; then nobody else asks for the fault.
            task.exception()


def prompt_characters(request: GenerationRequest, schema: PreparedSchema) -> int:
    """An upper estimate of the characters of a request's prompt."""
    size = len(request.prompt or "") + len(request.system or "") + len(schema.shown_full)
    return size + sum(len(message.content) for message in request.conversation or ())
