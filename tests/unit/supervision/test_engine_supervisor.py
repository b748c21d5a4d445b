"""What is done about an engine that dies, stands still or does not start, with a scripted one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from genir_server.core.generate import IRGenerator
from genir_server.core.self_test import SelfTest
from genir_server.domain.errors import GenirError, Reason
from genir_server.engine.protocol import EngineActivity, EngineStartError
from genir_server.supervision.engine_supervisor import (
    EngineLostError,
    EngineSupervisor,
    RestartPolicy,
    StartFailedError,
)
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.supervision.stall import StallWatch
from tests.support.scripted_engine import Schemas, ScriptedEngine, prepared

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = RestartPolicy(max_restarts=2, window=60, stall_timeout=0.4, backoff=0.01)


class WatchedEngine(ScriptedEngine):
    """Steps, or not, and answers, or not, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self.steps: float | None = None
        self.answers = True
        self.killed = False

    def activity(self) -> EngineActivity:
        return EngineActivity(self.running, 0, self.steps)

    async def answer(self) -> None:
        if not self.answers:
            await asyncio.Event().wait()

    def kill(self) -> None:
        self.killed = True
        self.dead = True


class ScriptedLauncher:
    """Gives one engine after the other; None is one that does not start."""

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
        generator = IRGenerator(engine, Schemas(schema), schema)
        self._lifecycle.attach(generator, SelfTest(generator))
        enter(Phase.WARMING_UP, "It warms up.")

    async def end(self) -> None:
        self._lifecycle.detach()
        self.engine = None


class Supervised:
    """A supervisor in a task, and what it made of its engines."""

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

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))

    def _on_loss(self) -> None:
        self.losses += 1


async def test_a_dead_engine_is_replaced_and_never_fails_liveness() -> None:
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


async def test_the_budget_of_restarts_is_kept() -> None:
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
    # What the process does next, on its way out.
    server.lifecycle.enter(Phase.DRAINING, "It drains.")
    assert not server.lifecycle.alive


async def test_restarts_that_fail_count_too() -> None:
    first = WatchedEngine()
    server = Supervised(first, None, None)
    await server.until(lambda: server.lifecycle.ready)
    first.dead = True
    with pytest.raises(EngineLostError):
        await server.task
    assert server.launcher.started == 3


async def test_a_first_start_that_fails_is_final() -> None:
    server = Supervised(None)
    with pytest.raises(StartFailedError, match="no such model"):
        await server.task
    assert server.lifecycle.phase is Phase.FAILED


async def test_a_server_that_drains_starts_nothing_any_more() -> None:
    engine = WatchedEngine()
    server = Supervised(engine, WatchedEngine())
    await server.until(lambda: server.lifecycle.ready)
    server.lifecycle.enter(Phase.DRAINING, "It drains.")
    engine.dead = True
    await server.task
    assert server.losses == 1
    assert server.launcher.started == 1


@pytest.mark.parametrize("idle", [False, True])
async def test_an_engine_that_stands_still_is_killed_and_replaced(*, idle: bool) -> None:
    first = WatchedEngine()
    server = Supervised(first, WatchedEngine())
    await server.until(lambda: server.lifecycle.ready)
    first.running = 0 if idle else 1
    first.answers = not idle
    began = time.monotonic()
    await server.until(lambda: "no progress" in server.lifecycle.message)
    assert server.lifecycle.ready, "suspicion is told before anything is done about it"
    await server.until(lambda: server.lifecycle.phase is Phase.RESTARTING)
    assert first.killed
    assert time.monotonic() - began >= POLICY.stall_timeout
    await server.until(lambda: server.lifecycle.ready)
    await server.close()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_steps_of_a_long_prefill_are_signs_of_life() -> None:
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    engine.running = 1
    for step in range(20):
        engine.steps = float(step)
        assert watch.silent_for() == 0
        clock.now += 9.0
        assert watch.silent_for() <= 9.0
        await asyncio.sleep(0)


async def test_an_answer_is_no_excuse_for_a_step() -> None:
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    engine.running = 1
    for _ in range(30):
        watch.silent_for()
        clock.now += 1.0
        for _ in range(3):
            await asyncio.sleep(0)
    assert watch.silent_for() > 10.0


async def test_short_calls_do_not_hide_a_stopped_engine() -> None:
    engine, clock = WatchedEngine(), Clock()
    engine.answers = False
    watch = StallWatch(engine, 10.0, clock)
    longest = 0.0
    for second in range(20):
        # Calls come, give up and are followed by others; the engine does nothing for any of them.
        engine.running = second % 2
        longest = max(longest, watch.silent_for())
        clock.now += 1.0
        await asyncio.sleep(0)
    assert longest > 10.0
    watch.close()


async def test_an_idle_engine_is_given_a_quarter_of_the_bound_more() -> None:
    """It may stop right after an answer, and is asked again only after a while."""
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


async def test_an_idle_engine_that_answers_is_well() -> None:
    engine, clock = WatchedEngine(), Clock()
    watch = StallWatch(engine, 10.0, clock)
    for _ in range(50):
        assert watch.silent_for() <= 1.0
        clock.now += 1.0
        for _ in range(3):
            await asyncio.sleep(0)
