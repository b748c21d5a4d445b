"""Handling of an engine that dies, stalls or does not start, with a scripted engine."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from genir_server.core.self_test import SelfTest
from genir_server.domain.errors import GenirError, Reason
from genir_server.engine.protocol import EngineActivity, EngineStartError, RankActivity
from genir_server.supervision import engine_supervisor
from genir_server.supervision.engine_supervisor import (
    EngineLostError,
    EngineSupervisor,
    RestartPolicy,
    StartFailedError,
)
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.supervision.stall import StallWatch
from tests.support.scripted_engine import Schemas, ScriptedEngine, generator_with, prepared

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = RestartPolicy(max_restarts=2, window=60, stall_timeout=0.4, backoff=0.01)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class WatchedEngine(ScriptedEngine):
    """Finishes steps and answers pings only as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self.steps: float | None = None
        self.answers = True
        self.killed = False

    def activity(self) -> EngineActivity:
        return EngineActivity((RankActivity(0, self.running, 0, self.steps),))

    async def answer(self) -> None:
        if not self.answers:
            await asyncio.Event().wait()

    def kill(self) -> None:
        self.killed = True
        self.dead = True


class ScriptedLauncher:
    """Starts the given engines one after the other; None fails to start."""

    def __init__(self, lifecycle: Lifecycle, *engines: WatchedEngine | None) -> None:
        self.engine: WatchedEngine | None = None
        self.started = 0
        self._lifecycle = lifecycle
        self._engines = list(engines)

    async def start(self, enter: Callable[[Phase, str], None]) -> None:
        engine = self._engines[self.started]
        self.started += 1
        if engine is None:
            raise EngineStartError("no such model")
        self.engine = engine
        schema = prepared()
        generator = generator_with(engine, Schemas(schema), schema)
        self._lifecycle.attach(generator, SelfTest(generator))
        enter(Phase.WARMING_UP, "Warming up.")

    async def end(self) -> None:
        self._lifecycle.detach()
        self.engine = None


class Supervised:
    """A supervisor that runs in a task, with its phases and losses."""

    def __init__(self, *engines: WatchedEngine | None, policy: RestartPolicy = POLICY) -> None:
        self.lifecycle = Lifecycle()
        self.phases: list[Phase] = []
        self.lifecycle.listen(lambda: self.phases.append(self.lifecycle.phase))
        self.losses = 0
        self.launcher = ScriptedLauncher(self.lifecycle, *engines)
        supervisor = EngineSupervisor(self.lifecycle, self.launcher, policy, self._on_loss)
        self.task = asyncio.create_task(supervisor.run())

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, self.lifecycle.message
            await asyncio.sleep(0.01)

    async def ready_after(self, starts: int) -> None:
        await self.until(lambda: self.lifecycle.ready and self.launcher.started == starts)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))

    def _on_loss(self) -> None:
        self.losses += 1


async def test_dead_engine_is_restarted_and_liveness_stays_on() -> None:
    first, second = WatchedEngine(), WatchedEngine()
    server = Supervised(first, second)
    await server.until(lambda: server.lifecycle.ready)
    first.dead = True
    await server.until(lambda: not server.lifecycle.ready)
    with pytest.raises(GenirError) as refused:
        server.lifecycle.serving_generator()
    assert refused.value.reason is Reason.ENGINE_DEAD
    assert refused.value.retry_after is not None
    await server.until(lambda: server.lifecycle.ready)
    assert server.lifecycle.serving_generator().engine is second
    assert Phase.FAILED not in server.phases
    assert server.phases[-2:] == [Phase.RESTARTING, Phase.READY]
    assert server.losses == 1
    await server.close()


async def test_number_of_restarts_is_limited() -> None:
    engines = [WatchedEngine() for _ in range(3)]
    server = Supervised(*engines)
    for engine in engines:
        await server.until(lambda: server.lifecycle.ready)
        engine.dead = True
        await server.until(lambda: not server.lifecycle.ready)
    with pytest.raises(EngineLostError, match="2 times"):
        await server.task
    assert not server.lifecycle.alive
    assert server.launcher.engine is None
    # The process drains before it exits.
    server.lifecycle.enter(Phase.DRAINING, "Draining.")
    assert not server.lifecycle.alive


async def test_failed_restarts_count() -> None:
    first = WatchedEngine()
    server = Supervised(first, None, None)
    await server.until(lambda: server.lifecycle.ready)
    first.dead = True
    with pytest.raises(EngineLostError):
        await server.task
    assert server.launcher.started == 3


class SlowLauncher(ScriptedLauncher):
    """Each start takes so many seconds of the supervisor's clock; None hangs."""

    clock: Clock
    seconds: list[float | None]

    async def start(self, enter: Callable[[Phase, str], None]) -> None:
        seconds = self.seconds[self.started]
        if seconds is None:
            await asyncio.Event().wait()
        self.clock.now += seconds or 0.0
        await super().start(enter)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The supervisor's clock, which only starts of a `SlowLauncher` and tests move."""
    clock = Clock()
    monkeypatch.setattr(engine_supervisor, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(f"{__name__}.ScriptedLauncher", SlowLauncher)
    monkeypatch.setattr(SlowLauncher, "clock", clock, raising=False)
    return clock


def starts(monkeypatch: pytest.MonkeyPatch, *seconds: float | None) -> None:
    monkeypatch.setattr(SlowLauncher, "seconds", list(seconds), raising=False)


async def test_restarts_of_an_engine_that_loads_for_minutes_run_out(
    slow: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts(monkeypatch, *[200.0] * 9)
    engines = [WatchedEngine() for _ in range(9)]
    policy = RestartPolicy(max_restarts=3, window=600, stall_timeout=0, backoff=0.01)
    server = Supervised(*engines, policy=policy)
    for number, engine in enumerate(engines[:4], 1):
        await server.ready_after(number)
        slow.now += 100
        engine.dead = True
    with pytest.raises(EngineLostError, match="3 times"):
        await server.task


async def test_losses_far_apart_do_not_run_out_of_restarts(
    slow: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts(monkeypatch, *[200.0] * 9)
    engines = [WatchedEngine() for _ in range(9)]
    policy = RestartPolicy(max_restarts=3, window=600, stall_timeout=0, backoff=0.001)
    server = Supervised(*engines, policy=policy)
    for number, engine in enumerate(engines[:8], 1):
        await server.ready_after(number)
        slow.now += 600
        engine.dead = True
    await server.until(lambda: server.launcher.started == 9)
    await server.until(lambda: server.lifecycle.ready)
    await server.close()


async def test_attempts_that_fail_late_run_out(
    slow: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts(monkeypatch, 20.0, *[290.0] * 9)
    first = WatchedEngine()
    policy = RestartPolicy(max_restarts=3, window=600, stall_timeout=0, backoff=0.01)
    server = Supervised(first, *[None] * 9, policy=policy)
    await server.until(lambda: server.lifecycle.ready)
    slow.now += 10_000
    first.dead = True
    with pytest.raises(EngineLostError):
        await server.task
    assert server.launcher.started == 4


async def test_restart_may_take_three_times_the_last_start(
    slow: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_supervisor, "_MIN_RESTART_TIMEOUT_SECONDS", 0.1)
    starts(monkeypatch, 0.34, None)
    first = WatchedEngine()
    server = Supervised(first, WatchedEngine())
    await server.until(lambda: server.lifecycle.ready)
    first.dead = True
    with pytest.raises(EngineLostError, match="did not restart within 1 s"):
        await server.task
    assert slow.now == 0.34


async def test_first_start_has_a_time_limit(slow: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    starts(monkeypatch, None)
    server = Supervised(WatchedEngine(), policy=RestartPolicy(start_timeout=0.1))
    with pytest.raises(StartFailedError, match=r"within 0\.1 s: raise --start-timeout") as failed:
        await server.task
    assert "\n" not in str(failed.value)
    assert server.lifecycle.phase is Phase.FAILED
    assert slow.now == 0.0


async def test_failed_first_start_is_not_retried() -> None:
    server = Supervised(None)
    with pytest.raises(StartFailedError, match="no such model"):
        await server.task
    assert server.lifecycle.phase is Phase.FAILED


async def test_draining_server_does_not_restart_the_engine() -> None:
    engine = WatchedEngine()
    server = Supervised(engine, WatchedEngine())
    await server.until(lambda: server.lifecycle.ready)
    server.lifecycle.enter(Phase.DRAINING, "Draining.")
    engine.dead = True
    await server.task
    assert server.losses == 1
    assert server.launcher.started == 1


@pytest.mark.parametrize("idle", [False, True])
async def test_stalled_engine_is_killed_and_restarted(*, idle: bool) -> None:
    first = WatchedEngine()
    server = Supervised(first, WatchedEngine())
    await server.until(lambda: server.lifecycle.ready)
    first.running = 0 if idle else 1
    first.answers = not idle
    began = time.monotonic()
    await server.until(lambda: "no progress" in server.lifecycle.message)
    assert server.lifecycle.ready, "the message mentions the stall before the engine is killed"
    await server.until(lambda: server.lifecycle.phase is Phase.RESTARTING)
    assert first.killed
    assert time.monotonic() - began >= POLICY.stall_timeout
    await server.until(lambda: server.lifecycle.ready)
    await server.close()


async def test_steps_of_a_long_prefill_count_as_progress() -> None:
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    engine.running = 1
    for step in range(20):
        engine.steps = float(step)
        assert watch.silent_for() == 0
        clock.now += 9.0
        assert watch.silent_for() <= 9.0
        await asyncio.sleep(0)


async def test_answer_does_not_replace_a_step() -> None:
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    engine.running = 1
    for _ in range(30):
        watch.silent_for()
        clock.now += 1.0
        for _ in range(3):
            await asyncio.sleep(0)
    assert watch.silent_for() > 10.0


async def test_short_calls_do_not_hide_a_stall() -> None:
    engine, clock = WatchedEngine(), Clock()
    engine.answers = False
    watch = StallWatch(engine, 10.0, clock)
    max_silence = 0.0
    for second in range(20):
        # Calls arrive and are cancelled in turn; the engine works on none of them.
        engine.running = second % 2
        max_silence = max(max_silence, watch.silent_for())
        clock.now += 1.0
        await asyncio.sleep(0)
    assert max_silence > 10.0
    watch.close()


async def test_idle_engine_stall_is_detected_within_a_quarter_more_than_the_timeout() -> None:
    """It may stall right after an answer, and the next ping is sent only after a while."""
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    tick = 0.1
    while clock.now < 5.0:
        watch.silent_for()
        clock.now += tick
        for _ in range(3):
            await asyncio.sleep(0)
    engine.answers = False
    stopped_at = clock.now
    while watch.silent_for() <= 10.0:
        clock.now += tick
        await asyncio.sleep(0)
    assert 10.0 < clock.now - stopped_at <= 12.5 + 3 * tick
    watch.close()


async def test_idle_engine_that_answers_does_not_stall() -> None:
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    for _ in range(50):
        assert watch.silent_for() <= 1.0
        clock.now += 1.0
        for _ in range(3):
            await asyncio.sleep(0)


class TwoRanks(WatchedEngine):
    """Two ranks: the first is the one that `WatchedEngine` describes, the second works on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def activity(self) -> EngineActivity:
        first = RankActivity(0, self.running, 0, self.steps)
        return EngineActivity((first, RankActivity(1, 2, 1, self._clock.now)))


@pytest.mark.parametrize("idle", [False, True])
async def test_rank_that_stalls_does_not_hide_behind_one_that_works(*, idle: bool) -> None:
    clock = Clock()
    engine = TwoRanks(clock)
    engine.running, engine.answers = (0, False) if idle else (1, True)
    watch = StallWatch(engine, 10.0, clock)
    while watch.silent_for() <= 10.0:
        assert clock.now < 13.0
        clock.now += 0.5
        for _ in range(3):
            await asyncio.sleep(0)
    assert watch.subject == "Rank 0 of the engine"
    engine.answers, engine.running = True, 0
    watch.close()


async def test_ranks_that_step_or_answer_do_not_stall() -> None:
    clock = Clock()
    engine = TwoRanks(clock)
    watch = StallWatch(engine, 10.0, clock)
    for _ in range(50):
        assert watch.silent_for() <= 1.0
        clock.now += 1.0
        for _ in range(3):
            await asyncio.sleep(0)


async def test_requests_that_reach_no_rank_are_a_stall() -> None:
    class Lost(WatchedEngine):
        def activity(self) -> EngineActivity:
            return EngineActivity((RankActivity(), RankActivity(1)), in_transit=1)

    clock = Clock()
    watch = StallWatch(Lost(), 10.0, clock)
    for _ in range(30):
        watch.silent_for()
        clock.now += 1.0
        for _ in range(3):
            await asyncio.sleep(0)
    assert watch.silent_for() > 10.0
    assert watch.subject == "The engine"
