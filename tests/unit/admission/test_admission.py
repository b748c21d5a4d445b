"""Admission: its invariants, its order, and what it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir_server.admission import Admission, AdmissionLimits, AdmissionTicket
from genir_server.domain.errors import GenirError, Reason
from genir_server.engine.protocol import EngineInfo


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Call:
    """One call in a task: it is admitted, waits, and runs until the test ends it."""

    gate: Admission
    caller: str = "a"
    priority: int = 0
    tokens: int = 10
    deadline: float | None = None
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    has_turn: bool = False
    error: GenirError | None = None
    ticket: AdmissionTicket | None = None
    task: asyncio.Task[None] | None = None

    async def start(self) -> Call:
        self.task = asyncio.create_task(self._run())
        await settle()
        return self

    async def end(self) -> None:
        self.leave.set()
        await settle()

    async def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await settle()

    @property
    def waits(self) -> bool:
        assert self.task is not None
        return not self.task.done() and not self.has_turn

    async def _run(self) -> None:
        try:
            with self.gate.admit(self.caller, self.deadline, self.priority) as self.ticket:
                await self.ticket.wait(self.tokens, self.priority)
                self.has_turn = True
                await self.leave.wait()
        except GenirError as error:
            self.error = error
        finally:
            self.has_turn = False


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def worked(gate: Admission, clock: Clock, seconds: float, **fields: Any) -> None:
    """Runs one call of a given length, so that the estimates have data."""
    call = await Call(gate, **fields).start()
    clock.now += seconds
    await call.end()


LIMITS = AdmissionLimits(
    calls=8, calls_per_caller=5, running=3, running_tokens=60, waiting_tokens=150
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("come"),
            st.sampled_from("abc"),
            st.integers(-2, 2),
            st.integers(1, 90),
            st.none() | st.floats(0.1, 30),
        ),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("pass"), st.floats(0.1, 10)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_invariants_hold_for_any_sequence_of_calls(steps: list[Any]) -> None:
    asyncio.run(_holds(steps))


async def _holds(steps: list[Any]) -> None:
    clock = Clock()
    gate = Admission(LIMITS, clock)
    calls: list[Call] = []
    for step in steps:
        under_way = [call for call in calls if call.task is not None and not call.task.done()]
        match step:
            case ["come", caller, priority, tokens, patience]:
                deadline = None if patience is None else clock.now + patience
                inside = len(under_way)
                call = await Call(gate, caller, priority, tokens, deadline).start()
                calls.append(call)
                if inside >= (LIMITS.calls or 0):
                    assert call.error is not None
            case ["leave" | "cancel", index] if under_way:
                chosen = under_way[index % len(under_way)]
                if step[0] == "cancel" or not chosen.has_turn:
                    await chosen.cancel()
                else:
                    await chosen.end()
            case ["pass", seconds]:
                clock.now += seconds
        _check(gate, calls)
    for call in calls:
        if call.task is not None and not call.task.done():
            await call.cancel()
    assert (gate.in_flight, gate.running, gate.running_tokens, gate.waiting) == (0, 0, 0, 0)
    assert not gate._in_flight
    assert not gate._running
    assert await gate.wait_idle(0.1)


def _check(gate: Admission, calls: list[Call]) -> None:
    under_way = [call for call in calls if call.task is not None and not call.task.done()]
    running = [call for call in under_way if call.has_turn]
    waiting = [call for call in under_way if call.waits]
    # The books are right.
    assert gate.in_flight == len(under_way)
    assert gate.running == len(running)
    assert gate.waiting == len(waiting)
    assert gate.running_tokens == sum(call.tokens for call in running)
    # The bounds are kept.
    assert len(under_way) <= LIMITS.calls
    assert len(running) <= (LIMITS.running or 0)
    assert len(running) == 1 or gate.running_tokens <= (LIMITS.running_tokens or 0)
    assert sum(call.tokens for call in waiting) <= (LIMITS.waiting_tokens or 0)
    for caller in "abc":
        own = [call for call in under_way if call.caller == caller]
        assert len(own) <= (LIMITS.calls_per_caller or 0)
    # Nobody waits for nothing: whoever is next does not fit.
    if waiting:
        counts = {caller: sum(call.caller == caller for call in running) for caller in "abc"}
        following = min(waiting, key=lambda call: (call.priority, counts[call.caller]))
        assert running
        fitting = [
            call
            for call in waiting
            if (call.priority, counts[call.caller])
            == (following.priority, counts[following.caller])
        ]
        oldest = min(fitting, key=lambda call: call.ticket.number if call.ticket else 0)
        assert len(running) == LIMITS.running or (
            gate.running_tokens + oldest.tokens > (LIMITS.running_tokens or 0)
        )
    # Every refusal says why, and when to come back if that helps.
    for call in calls:
        if call.error is not None:
            assert call.error.reason in (Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED)
            assert (call.error.retry_after is not None) == (call.error.reason is Reason.OVERLOADED)


async def test_lower_priority_number_goes_first_and_equal_ones_in_order() -> None:
    gate = Admission(AdmissionLimits(running=1))
    first = await Call(gate).start()
    waiting = [await Call(gate, priority=number).start() for number in (5, -5, 0, -5)]
    order = []
    await first.end()
    for _ in waiting:
        (now,) = (call for call in waiting if call.has_turn)
        order.append(waiting.index(now))
        await now.end()
    assert order == [1, 3, 2, 0]


async def test_one_callers_backlog_does_not_block_others() -> None:
    gate = Admission(AdmissionLimits(running=2))
    greedy = [await Call(gate, caller="greedy").start() for _ in range(6)]
    modest = await Call(gate, caller="modest").start()
    await greedy[0].end()
    assert modest.has_turn
    for call in [*greedy, modest]:
        await call.end()


async def test_large_call_is_not_overtaken_forever() -> None:
    gate = Admission(AdmissionLimits(running_tokens=100))
    small = [await Call(gate, tokens=50).start() for _ in range(2)]
    large = await Call(gate, tokens=100).start()
    later = await Call(gate, tokens=10).start()
    await small[0].end()
    assert large.waits
    assert later.waits
    await small[1].end()
    assert large.has_turn
    await large.end()
    assert later.has_turn
    await later.end()


async def test_call_larger_than_the_limit_runs_alone() -> None:
    gate = Admission(AdmissionLimits(running_tokens=100))
    huge = await Call(gate, tokens=1000).start()
    assert huge.has_turn
    await huge.end()


async def test_retry_delay_follows_the_measured_speed() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(calls=6, running=2), clock)
    await worked(gate, clock, 4.0)
    calls = [await Call(gate).start() for _ in range(6)]
    refused = await Call(gate).start()
    # Four wait; two leave every four seconds; the fifth departure comes after ten.
    assert refused.error is not None
    assert refused.error.reason is Reason.OVERLOADED
    assert refused.error.retry_after == pytest.approx(10.0)
    for call in calls:
        await call.cancel()


async def test_call_that_cannot_meet_its_deadline_is_refused_on_arrival() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    await worked(gate, clock, 4.0)
    running = await Call(gate).start()
    hopeless = await Call(gate, deadline=clock.now + 3.0).start()
    assert hopeless.error is not None
    assert hopeless.error.reason is Reason.OVERLOADED
    assert hopeless.ticket is None
    assert "deadline" in hopeless.error.message
    too_late = await Call(gate, deadline=clock.now + 5.0).start()
    assert too_late.error is not None
    assert too_late.ticket is not None
    short = await Call(gate, deadline=clock.now + 5.0, tokens=1).start()
    assert short.waits
    in_time = await Call(gate, deadline=clock.now + 20.0).start()
    assert in_time.waits
    for call in (running, short, in_time):
        await call.cancel()


async def test_requested_tokens_count_on_arrival() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    await worked(gate, clock, 4.0, tokens=100)
    running = await Call(gate).start()
    deadline = clock.now + 6.0
    with (
        pytest.raises(GenirError, match="deadline"),
        gate.admit("a", deadline, known_tokens=100),
    ):
        raise AssertionError("let in")
    with gate.admit("a", deadline, known_tokens=10):
        pass
    await running.cancel()


async def test_call_that_is_unlikely_to_finish_does_not_start() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    for seconds in (2.0, 6.0) * 20:
        await worked(gate, clock, seconds)
    running = await Call(gate).start()
    # The mean is about 4 s: every second call like this one would run out of time inside.
    lucky = await Call(gate, deadline=clock.now + 9.0).start()
    safe = await Call(gate, deadline=clock.now + 13.0).start()
    assert lucky.error is not None
    assert lucky.error.reason is Reason.OVERLOADED
    assert safe.waits
    for call in (running, safe):
        await call.cancel()


async def test_cut_off_call_does_not_lower_the_estimate() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    await worked(gate, clock, 4.0)
    for _ in range(20):
        left = await Call(gate).start()
        clock.now += 0.1
        await left.cancel()
    running = await Call(gate).start()
    hopeless = await Call(gate, deadline=clock.now + 4.0).start()
    assert hopeless.error is not None
    assert hopeless.error.reason is Reason.OVERLOADED
    await running.cancel()


async def test_cut_off_call_does_not_start_the_estimate() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    left = await Call(gate).start()
    clock.now += 0.1
    await left.cancel()
    await worked(gate, clock, 4.0)
    running = await Call(gate).start()
    hopeless = await Call(gate, deadline=clock.now + 4.0).start()
    assert hopeless.error is not None
    await running.cancel()


async def test_calls_that_exceed_their_deadline_raise_the_estimate() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    await worked(gate, clock, 1.0)
    for _ in range(20):
        late = await Call(gate).start()
        clock.now += 8.0
        await late.cancel()
    running = await Call(gate).start()
    hopeless = await Call(gate, deadline=clock.now + 12.0).start()
    assert hopeless.error is not None
    await running.cancel()


async def test_idle_server_attempts_every_call() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=2), clock)
    await worked(gate, clock, 60.0)
    hurried = await Call(gate, deadline=clock.now + 1.0).start()
    assert hurried.has_turn
    await hurried.end()


async def test_call_that_expires_in_the_queue_never_runs() -> None:
    clock = Clock()
    gate = Admission(AdmissionLimits(running=1), clock)
    running = await Call(gate).start()
    expired = await Call(gate, deadline=clock.now + 1.0).start()
    patient = await Call(gate).start()
    clock.now += 2.0
    await running.end()
    assert expired.error is not None
    assert expired.error.reason is Reason.DEADLINE_EXCEEDED
    assert patient.has_turn
    await patient.end()


async def test_waiting_calls_fail_when_the_engine_dies() -> None:
    gate = Admission(AdmissionLimits(running=1))
    running = await Call(gate).start()
    waiting = await Call(gate).start()
    gate.fail_waiting(Reason.ENGINE_DEAD, "dead")
    await settle()
    assert waiting.error is not None
    assert waiting.error.reason is Reason.ENGINE_DEAD
    assert running.has_turn
    await running.end()


async def test_server_calls_are_exempt_from_limits() -> None:
    gate = Admission(AdmissionLimits(calls=1))
    call = await Call(gate).start()
    with gate.reserved():
        assert gate.in_flight == 2
        await call.end()
        assert not await gate.wait_idle(0.01)
    assert await gate.wait_idle(0.01)


def test_unset_limits_follow_the_engine() -> None:
    info = EngineInfo("m", (), 4096, "guidance", max_running=16, kv_cache_tokens=1000)
    sized = AdmissionLimits().sized_to(info)
    assert (sized.running, sized.running_tokens) == (15, 2000)
    chosen = AdmissionLimits(running=3, running_tokens=7)
    assert chosen.sized_to(info) == chosen
