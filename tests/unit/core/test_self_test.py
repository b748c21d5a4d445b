"""The server's own generations: shared, one at a time, not too often, and never without an end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genir_server.core import self_test as module
from genir_server.core.self_test import CANARY_SCHEMA, SelfTest
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import FinishReason, Sampling, TextDelta
from genir_server.engine.protocol import EngineDeadError
from tests.support.scripted_engine import Schemas, ScriptedEngine, generator_with, prepared

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

    from genir_server.core.self_test import SelfTestResult
    from genir_server.engine.protocol import EngineRequest

    Ask = Callable[[SelfTest], Coroutine[None, None, SelfTestResult]]

CANARY_IR = '{"intent":{"summary":"All is well."}}'
WARM_UP_IR = '{"a":1}'
PATIENCE_SECONDS = 20.0
"""What must happen happens within milliseconds; this only ends a test where it does not."""
MOMENT_SECONDS = 0.05
"""Long enough for what must not happen to happen."""


class HeldEngine(ScriptedEngine):
    """Begins at once, and writes a good answer once it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()
        self.fault: Exception | None = None
        self.begun_at: list[float] = []
        self.most_at_once = 0
        self._begun: asyncio.Queue[str] = asyncio.Queue()

    @property
    def kinds(self) -> list[str]:
        """What each request was for, in the order in which they began."""
        return [request.request_id.rpartition("-")[0] for request in self.requests]

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        self.requests.append(request)
        self.begun_at.append(time.monotonic())
        self.open_requests += 1
        self.most_at_once = max(self.most_at_once, self.open_requests)
        self._begun.put_nowait(request.request_id)
        try:
            await self.release.wait()
            if self.fault is not None:
                raise self.fault
            text = CANARY_IR if request.schema == CANARY_SCHEMA else WARM_UP_IR
            yield TextDelta(text, len(text), FinishReason.STOP)
        finally:
            self.open_requests -= 1

    async def one_begins(self) -> None:
        """Waits until another request has begun."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._begun.get()


@pytest.fixture
async def engine() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
async def self_test(engine: HeldEngine, monkeypatch: pytest.MonkeyPatch) -> SelfTest:
    # Long, so that a generation that had to wait for it would be missed.
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 10 * PATIENCE_SECONDS)
    schema = prepared()
    return SelfTest(generator_with(engine, Schemas(schema, prepared(CANARY_SCHEMA)), schema))


KINDS = pytest.mark.parametrize(
    ("kind", "ask", "ir_json"),
    [("canary", SelfTest.canary, CANARY_IR), ("warm-up", SelfTest.warm_up, WARM_UP_IR)],
)


async def soon(*asked: Awaitable[SelfTestResult]) -> list[SelfTestResult]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*asked)


@KINDS
async def test_simultaneous_requests_share_one_generation(
    engine: HeldEngine, self_test: SelfTest, kind: str, ask: Ask, ir_json: str
) -> None:
    first = [asyncio.create_task(ask(self_test)) for _ in range(5)]
    await engine.one_begins()
    # One that comes while it runs takes part in it, too.
    late = asyncio.create_task(ask(self_test))
    await asyncio.sleep(MOMENT_SECONDS)
    engine.release.set()
    results = await soon(*first, late)
    assert engine.kinds == [kind]
    assert {id(result) for result in results} == {id(results[0])}
    assert results[0].completed.ir_json == ir_json


@KINDS
async def test_no_more_than_one_starts_per_interval(
    engine: HeldEngine,
    self_test: SelfTest,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    ask: Ask,
    ir_json: str,
) -> None:
    interval = 0.3
    monkeypatch.setattr(module, "INTERVAL_SECONDS", interval)
    engine.release.set()
    asked_at = time.monotonic()
    for _ in range(3):
        (result,) = await soon(ask(self_test))
        assert result.completed.ir_json == ir_json
    assert engine.kinds == [kind] * 3
    assert engine.begun_at[1] - asked_at >= interval
    assert engine.begun_at[2] - asked_at >= 2 * interval


async def test_canary_and_warm_up_share_one_slot(engine: HeldEngine, self_test: SelfTest) -> None:
    canary = asyncio.create_task(self_test.canary())
    await engine.one_begins()
    warm_up = asyncio.create_task(self_test.warm_up())
    await asyncio.sleep(MOMENT_SECONDS)
    assert engine.kinds == ["canary"]
    assert self_test.warm is None
    engine.release.set()
    # The interval of one kind is none of the other's.
    await soon(canary, warm_up)
    assert engine.kinds == ["canary", "warm-up"]
    assert engine.most_at_once == 1
    assert self_test.warm is warm_up.result()


@pytest.mark.parametrize(
    ("bound", "kind", "ask", "other"),
    [
        ("CANARY_SECONDS", "canary", SelfTest.canary, SelfTest.warm_up),
        ("FIRST_CANARY_SECONDS", "first canary", SelfTest.first_canary, SelfTest.canary),
        ("WARMUP_SECONDS", "warm-up", SelfTest.warm_up, SelfTest.canary),
    ],
)
async def test_hanging_generation_is_cancelled_and_frees_its_slot(
    engine: HeldEngine,
    self_test: SelfTest,
    monkeypatch: pytest.MonkeyPatch,
    *,
    bound: str,
    kind: str,
    ask: Ask,
    other: Ask,
) -> None:
    monkeypatch.setattr(module, bound, 0.2)
    began = time.monotonic()
    with pytest.raises(GenirError) as told:
        await soon(ask(self_test))
    assert time.monotonic() - began >= 0.2
    assert told.value.reason is Reason.DEADLINE_EXCEEDED
    assert told.value.message == f"the {kind} took longer than 0.2 s"
    assert engine.open_requests == 0, "the engine was told to let go of it"
    engine.release.set()
    await soon(other(self_test))
    assert len(engine.requests) == 2


async def test_canary_runs_on_every_rank(engine: HeldEngine, self_test: SelfTest) -> None:
    engine.info = replace(engine.info, ranks=3)
    engine.release.set()
    (result,) = await soon(self_test.canary())
    assert result.completed.ir_json == CANARY_IR
    assert sorted(sent.rank for sent in engine.requests if sent.rank is not None) == [0, 1, 2]
    assert len({sent.request_id for sent in engine.requests}) == 3


async def test_canary_fails_with_one_rank_and_leaves_none_running() -> None:
    class OneFails(HeldEngine):
        async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
            if request.rank == 1:
                raise EngineDeadError("died")
            async for delta in super().generate(request):
                yield delta

    engine, schema = OneFails(), prepared()
    engine.info = replace(engine.info, ranks=2)
    test = SelfTest(generator_with(engine, Schemas(schema, prepared(CANARY_SCHEMA)), schema))
    with pytest.raises(GenirError) as told:
        await soon(test.canary())
    assert told.value.reason is Reason.ENGINE_DEAD
    assert engine.open_requests == 0


async def test_first_canary_samples_as_callers_do_on_every_rank(
    engine: HeldEngine, self_test: SelfTest
) -> None:
    engine.info = replace(engine.info, ranks=2)
    engine.release.set()
    await soon(self_test.first_canary())
    assert [sent.sampling for sent in engine.requests] == [Sampling()] * 2
    assert {sent.rank for sent in engine.requests} == {0, 1}
    # A seed would take another path than most callers do.
    assert Sampling().top_p < 1
    assert Sampling().seed is None
    await soon(self_test.canary())
    assert [sent.sampling.temperature for sent in engine.requests[2:]] == [0.0, 0.0]


def test_first_canary_has_time_to_compile_kernels() -> None:
    assert module.FIRST_CANARY_SECONDS == 600
    assert module.CANARY_SECONDS == 60


async def test_truncated_first_canary_is_tried_again_without_sampling() -> None:
    class LongWinded(ScriptedEngine):
        async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
            self.requests.append(request)
            if request.sampling.temperature:
                yield TextDelta('{"a":', 5, FinishReason.LENGTH)
            else:
                yield TextDelta(CANARY_IR, 7, FinishReason.STOP)

    engine, schema = LongWinded(), prepared()
    self_test = SelfTest(generator_with(engine, Schemas(schema, prepared(CANARY_SCHEMA)), schema))
    assert (await self_test.first_canary()).completed.ir_json == CANARY_IR
    assert [sent.max_tokens for sent in engine.requests] == [512, 64]


async def test_only_an_engine_with_ranks_is_told_one(
    engine: HeldEngine, self_test: SelfTest
) -> None:
    engine.release.set()
    await soon(self_test.canary(), self_test.warm_up())
    assert [sent.rank for sent in engine.requests] == [None, None]


@pytest.mark.parametrize("cut", [0, 1])
async def test_truncated_warm_up_is_retried_with_other_seeds_first(
    cut: int,
) -> None:
    class LongWinded(ScriptedEngine):
        async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
            self.requests.append(request)
            if len(self.requests) <= cut:
                yield TextDelta('{"a":', 5, FinishReason.LENGTH)
            else:
                yield TextDelta(WARM_UP_IR, 7, FinishReason.STOP)

    engine, schema = LongWinded(), prepared()
    self_test = SelfTest(generator_with(engine, Schemas(schema), schema))
    assert (await self_test.warm_up()).completed.ir_json == WARM_UP_IR
    assert [sent.max_tokens for sent in engine.requests] == [256, 2048][: cut + 1]
    assert len({sent.sampling.seed for sent in engine.requests}) == cut + 1


async def test_warm_up_that_is_always_truncated_fails() -> None:
    class Endless(ScriptedEngine):
        async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
            self.requests.append(request)
            yield TextDelta('{"a":', 5, FinishReason.LENGTH)

    endless, schema = Endless(), prepared()
    with pytest.raises(GenirError) as told:
        await SelfTest(generator_with(endless, Schemas(schema), schema)).warm_up()
    assert told.value.reason is Reason.TRUNCATED
    assert len(endless.requests) == 2


async def test_inner_timeout_is_not_mistaken_for_the_time_limit(
    engine: HeldEngine, self_test: SelfTest
) -> None:
    engine.fault = TimeoutError("of something else")
    engine.release.set()
    with pytest.raises(TimeoutError, match="of something else"):
        await soon(self_test.canary())


@KINDS
async def test_waiter_that_leaves_does_not_cancel_the_shared_generation(
    engine: HeldEngine, self_test: SelfTest, kind: str, ask: Ask, ir_json: str
) -> None:
    leaves, stays = (asyncio.create_task(ask(self_test)) for _ in range(2))
    await engine.one_begins()
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(leaves)
    assert engine.open_requests == 1
    engine.release.set()
    (result,) = await soon(stays)
    assert result.completed.ir_json == ir_json
    assert engine.kinds == [kind]


async def test_failure_reaches_all_waiters_and_is_not_cached(
    engine: HeldEngine, self_test: SelfTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.0)
    engine.fault = EngineDeadError("gone")
    asked = [asyncio.create_task(self_test.warm_up()) for _ in range(2)]
    await engine.one_begins()
    engine.release.set()
    await asyncio.wait(asked, timeout=PATIENCE_SECONDS)
    for each in asked:
        fault = each.exception()
        assert isinstance(fault, GenirError)
        assert fault.reason is Reason.ENGINE_DEAD
    assert self_test.warm is None
    engine.fault = None
    await soon(self_test.warm_up())
    assert engine.kinds == ["warm-up", "warm-up"]
