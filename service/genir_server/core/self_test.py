"""Generations that the server runs for itself: the warm-up and the canary.

Both pass through all five steps like a caller's request, but do not queue: one of them runs at a
time, and the engine takes it first. Simultaneous calls share one generation, which goes on when a
caller leaves. Each kind starts at most once a second and has a time limit.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import (
    Completed,
    GenerationRequest,
    OnBudget,
    Sampling,
    SchemaInPrompt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from genir_server.core.generate import IRGenerator

WARMUP_PROMPT = "Describe a function that adds two integers and returns the sum."
CANARY_SCHEMA = (
    '{"type":"object","properties":{"intent":{"type":"object","properties":{"summary":'
    '{"type":"string","minLength":10,"maxLength":40}},'
    '"required":["summary"],"additionalProperties":false}},'
    '"required":["intent"],"additionalProperties":false}'
)
"""A schema of the IR's shape; a generation with it takes about a dozen tokens."""

INTERVAL_SECONDS = 1.0
"""Minimum time between the starts of two generations of one kind."""

CANARY_SECONDS = 60.0
"""Maximum duration of a canary."""

FIRST_CANARY_SECONDS = 600.0
"""Maximum duration of an engine's first canary. Kernels may be compiled when they are first used,
and a failure would throw the load of a large model away."""

WARMUP_SECONDS = 600.0
"""Maximum duration of a warm-up, all its attempts together."""

_PRIORITY = -1000
_GREEDY = Sampling(temperature=0.0)
_GREEDY_CANARY_TOKENS = 64
_SAMPLED_CANARY_TOKENS = 512
_WARMUP_SEED = 1
_WARMUP_ATTEMPTS = 3
_WARMUP_BUDGETS = (256, None)
"""`max_tokens` of the requests that a warm-up tries. The small budget comes first, because callers
wait for a starting server, and a small model that is verbose with one seed may be brief with the
next."""
_BUDGET_REASONS = {Reason.TRUNCATED, Reason.BUDGET_TOO_SMALL, Reason.PROMPT_TOO_LONG}


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """A verified IR and the seconds that it took."""

    completed: Completed
    elapsed: float


class SelfTest:
    """Warm-up and canary generations of one generator."""

    def __init__(self, generator: IRGenerator) -> None:
        self._generator = generator
        self._warm: SelfTestResult | None = None
        self._running: dict[str, asyncio.Task[SelfTestResult]] = {}
        self._lock = asyncio.Lock()
        self._began: dict[str, float] = {}

    @property
    def warm(self) -> SelfTestResult | None:
        """The warm-up that ran; None before the first."""
        return self._warm

    async def warm_up(self) -> SelfTestResult:
        """Runs one generation with the built-in IR schema and keeps its result.

        Raises:
            GenirError: it did not give a valid IR.
        """
        return await self._shared("warm-up", self._warm_up)

    async def canary(self) -> SelfTestResult:
        """Runs one very short generation on each data-parallel rank, all at the same time.

        Returns:
            The result of the slowest rank.

        Raises:
            GenirError: a rank did not give a valid IR.
        """
        return await self._shared("canary", self._canary)

    async def first_canary(self) -> SelfTestResult:
        """Like `canary`, for an engine that has just started.

        It has more time and the sampling that callers get, whose kernels a greedy canary would
        leave to the first caller.

        Raises:
            GenirError: a rank did not give a valid IR.
        """
        return await self._shared("first canary", self._first_canary)

    async def _shared(
        self, name: str, probe: Callable[[], Coroutine[None, None, SelfTestResult]]
    ) -> SelfTestResult:
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(probe(), name=name)
            self._running[name] = task
            task.add_done_callback(self._forget)
        # A caller that gives up must not cancel the generation for the others.
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[SelfTestResult]) -> None:
        del self._running[task.get_name()]
        if not task.cancelled():
            # Retrieved here, so that asyncio does not report a failure that no caller awaited.
            task.exception()

    async def _warm_up(self) -> SelfTestResult:
        requests = [
            GenerationRequest(
                request_id=f"warm-up-{uuid.uuid4().hex[:12]}",
                prompt=WARMUP_PROMPT,
                sampling=Sampling(seed=_WARMUP_SEED + number),
                max_tokens=budget,
                max_attempts=_WARMUP_ATTEMPTS,
                compact=True,
                on_budget=OnBudget.FAIL,
                priority=_PRIORITY,
                priority_across_callers=True,
            )
            for number, budget in enumerate(_WARMUP_BUDGETS)
        ]
        self._warm = await self._run(
            "warm-up", WARMUP_SECONDS, lambda: self._generate_first(requests)
        )
        return self._warm

    async def _canary(self) -> SelfTestResult:
        requests = [[request] for request in self._canaries(_GREEDY, _GREEDY_CANARY_TOKENS)]
        return await self._run("canary", CANARY_SECONDS, lambda: self._generate_all(requests))

    async def _first_canary(self) -> SelfTestResult:
        # Sampled text may take more tokens than a small context has.
        usual = self._canaries(Sampling(), _SAMPLED_CANARY_TOKENS)
        greedy = self._canaries(_GREEDY, _GREEDY_CANARY_TOKENS)
        requests = [list(pair) for pair in zip(usual, greedy, strict=True)]
        return await self._run(
            "first canary", FIRST_CANARY_SECONDS, lambda: self._generate_all(requests)
        )

    def _canaries(self, sampling: Sampling, max_tokens: int) -> list[GenerationRequest]:
        """The request of a canary for each rank."""
        ranks = self._generator.engine.info.ranks
        return [
            GenerationRequest(
                request_id=f"canary-{uuid.uuid4().hex[:12]}",
                prompt="Say that you work.",
                json_schema=CANARY_SCHEMA,
                schema_in_prompt=SchemaInPrompt.NEVER,
                sampling=sampling,
                max_tokens=max_tokens,
                on_budget=OnBudget.FAIL,
                priority=_PRIORITY,
                priority_across_callers=True,
                rank=rank if ranks > 1 else None,
            )
            for rank in range(ranks)
        ]

    async def _run(
        self,
        name: str,
        seconds: float,
        generate: Callable[[], Coroutine[None, None, SelfTestResult]],
    ) -> SelfTestResult:
        async with self._lock:
            since = time.monotonic() - self._began.get(name, -INTERVAL_SECONDS)
            await asyncio.sleep(INTERVAL_SECONDS - since)
            self._began[name] = time.monotonic()
            try:
                async with asyncio.timeout(seconds) as bound:
                    return await generate()
            except TimeoutError as fault:
                if not bound.expired():
                    raise
                raise GenirError(
                    Reason.DEADLINE_EXCEEDED, f"the {name} took longer than {seconds:g} s"
                ) from fault

    async def _generate_first(self, requests: list[GenerationRequest]) -> SelfTestResult:
        """Runs the requests in order until the token budget of one is enough."""
        for request in requests[:-1]:
            try:
                return await self._generate(request)
            except GenirError as fault:
                if fault.reason not in _BUDGET_REASONS:
                    raise
        return await self._generate(requests[-1])

    async def _generate_all(self, requests: list[list[GenerationRequest]]) -> SelfTestResult:
        """Runs `_generate_first` for all at the same time; the first that fails ends the others."""
        tasks = [asyncio.create_task(self._generate_first(each)) for each in requests]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return max(results, key=lambda result: result.elapsed)

    async def _generate(self, request: GenerationRequest) -> SelfTestResult:
        began = time.monotonic()
        async with aclosing(self._generator.run(request)) as events:
            async for event in events:
                if isinstance(event, Completed):
                    return SelfTestResult(event, time.monotonic() - began)
        raise AssertionError("a generation ends with Completed or raises")
