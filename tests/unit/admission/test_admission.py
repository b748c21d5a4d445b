"""Admission control: invariants under random calls, order of the queue, refusals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir_server.admission import Admission, AdmissionLimits, Ticket
from genir_server.domain.errors import GenirError, Reason
from genir_server.engine.protocol import EngineInfo


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Call:
    """One call in a task: it is admitted, queues, and runs until `end`."""

    admission: Admission
    caller: str = "a"
    priority: int = 0
    tokens: int = 10
    deadline: float | None = None
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False
    error: GenirError | None = None
    ticket: Ticket | None = None
    task: asyncio.Task[None] | None = None

    async def start(self) -> Call:
        self.task = asyncio.create_task(self._run())
        await settle()
        return self

    async def end(self) -> None:
        self.finish.set()
        await settle()

    async def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await settle()

    @property
    def queued(self) -> bool:
        assert self.task is not None
        return not self.task.done() and not self.running

    async def _run(self) -> None:
        try:
            with self.admission.admit(self.caller, self.deadline, self.priority) as self.ticket:
                await self.ticket.wait(self.tokens, self.priority)
                self.running = True
                await self.finish.wait()
        except GenirError as error:
            self.error = error
        finally:
            self.running = False


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def complete_one(admission: Admission, clock: Clock, seconds: float, **fields: Any) -> None:
    """Runs one call of this duration to its end."""
    call = await Call(admission, **fields).start()
    clock.now += seconds
    await call.end()


LIMITS = AdmissionLimits(
    max_calls=8,
    max_calls_per_caller=5,
    max_running=3,
    max_running_tokens=60,
    max_queued_tokens=150,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("arrive"),
            st.sampled_from("abc"),
            st.integers(-2, 2),
            st.integers(1, 90),
            st.none() | st.floats(0.1, 30),
        ),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.floats(0.1, 10)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_limits_and_counters_hold_for_any_sequence_of_calls(steps: list[Any]) -> None:
    asyncio.run(_check_invariants(steps))


async def _check_invariants(steps: list[Any]) -> None:
    clock = Clock()
    admission = Admission(LIMITS, clock)
    calls: list[Call] = []
    for step in steps:
        in_flight = [call for call in calls if call.task is not None and not call.task.done()]
        match step:
            case ["arrive", caller, priority, tokens, timeout]:
                deadline = None if timeout is None else clock.now + timeout
                before = len(in_flight)
                call = await Call(admission, caller, priority, tokens, deadline).start()
                calls.append(call)
                if before >= LIMITS.max_calls:
                    assert call.error is not None
            case ["end" | "cancel", index] if in_flight:
                chosen = in_flight[index % len(in_flight)]
                if step[0] == "cancel" or not chosen.running:
                    await chosen.cancel()
                else:
                    await chosen.end()
            case ["wait", seconds]:
                clock.now += seconds
        _check(admission, calls)
    for call in calls:
        if call.task is not None and not call.task.done():
            await call.cancel()
    assert (admission.in_flight, admission.running, admission.running_tokens, admission.queued) == (
        0,
        0,
        0,
        0,
    )
    assert not admission._in_flight
    assert not admission._running
    assert await admission.wait_idle(0.1)


def _check(admission: Admission, calls: list[Call]) -> None:
    in_flight = [call for call in calls if call.task is not None and not call.task.done()]
    running = [call for call in in_flight if call.running]
    queued = [call for call in in_flight if call.queued]
    # The counters are right.
    assert admission.in_flight == len(in_flight)
    assert admission.running == len(running)
    assert admission.queued == len(queued)
    assert admission.running_tokens == sum(call.tokens for call in running)
    # The limits hold.
    assert len(in_flight) <= LIMITS.max_calls
    assert len(running) <= (LIMITS.max_running or 0)
    assert len(running) == 1 or admission.running_tokens <= (LIMITS.max_running_tokens or 0)
    assert sum(call.tokens for call in queued) <= (LIMITS.max_queued_tokens or 0)
    for caller in "abc":
        own = [call for call in in_flight if call.caller == caller]
        assert len(own) <= (LIMITS.max_calls_per_caller or 0)
    # The engine does not idle: the first call in the queue does not fit.
    if queued:
        counts = {caller: sum(call.caller == caller for call in running) for caller in "abc"}
        following = min(queued, key=lambda call: (call.priority, counts[call.caller]))
        assert running
        fitting = [
            call
            for call in queued
            if (call.priority, counts[call.caller])
            == (following.priority, counts[following.caller])
        ]
        oldest = min(fitting, key=lambda call: call.ticket.number if call.ticket else 0)
        assert len(running) == LIMITS.max_running or (
            admission.running_tokens + oldest.tokens > (LIMITS.max_running_tokens or 0)
        )
    # Every refusal has a reason, and a retry delay if a retry helps.
    for call in calls:
        if call.error is not None:
            assert call.error.reason in (Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED)
            assert (call.error.retry_after is not None) == (call.error.reason is Reason.OVERLOADED)


async def test_lower_priority_number_runs_first_and_ties_in_order_of_arrival() -> None:
    admission = Admission(AdmissionLimits(max_running=1))
    first = await Call(admission).start()
    queued = [await Call(admission, priority=number).start() for number in (5, -5, 0, -5)]
    order = []
    await first.end()
    for _ in queued:
        (now,) = (call for call in queued if call.running)
        order.append(queued.index(now))
        await now.end()
    assert order == [1, 3, 2, 0]


async def test_caller_with_fewest_running_calls_runs_next() -> None:
    admission = Admission(AdmissionLimits(max_running=2))
    flooding = [await Call(admission, caller="flooding").start() for _ in range(6)]
    other = await Call(admission, caller="other").start()
    await flooding[0].end()
    assert other.running
    for call in [*flooding, other]:
        await call.end()


async def test_large_call_is_not_overtaken() -> None:
    admission = Admission(AdmissionLimits(max_running_tokens=100))
    small = [await Call(admission, tokens=50).start() for _ in range(2)]
    large = await Call(admission, tokens=100).start()
    later = await Call(admission, tokens=10).start()
    await small[0].end()
    assert large.queued
    assert later.queued
    await small[1].end()
    assert large.running
    await large.end()
    assert later.running
    await later.end()


async def test_call_over_the_token_limit_runs_alone() -> None:
    admission = Admission(AdmissionLimits(max_running_tokens=100))
    huge = await Call(admission, tokens=1000).start()
    assert huge.running
    await huge.end()


async def test_retry_delay_follows_from_the_rate_of_completed_calls() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_calls=6, max_running=2), clock)
    await complete_one(admission, clock, 4.0)
    calls = [await Call(admission).start() for _ in range(6)]
    refused = await Call(admission).start()
    # Four are queued. Two complete every four seconds, so the fifth place is free after ten.
    assert refused.error is not None
    assert refused.error.reason is Reason.OVERLOADED
    assert refused.error.retry_after == pytest.approx(10.0)
    for call in calls:
        await call.cancel()


async def test_call_that_cannot_complete_in_time_is_refused_on_arrival() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    await complete_one(admission, clock, 4.0)
    running = await Call(admission).start()
    hopeless = await Call(admission, deadline=clock.now + 3.0).start()
    assert hopeless.error is not None
    assert hopeless.error.reason is Reason.OVERLOADED
    assert hopeless.ticket is None
    assert "deadline" in hopeless.error.message
    too_late = await Call(admission, deadline=clock.now + 5.0).start()
    assert too_late.error is not None
    assert too_late.ticket is not None
    short = await Call(admission, deadline=clock.now + 5.0, tokens=1).start()
    assert short.queued
    in_time = await Call(admission, deadline=clock.now + 20.0).start()
    assert in_time.queued
    for call in (running, short, in_time):
        await call.cancel()


async def test_requested_tokens_count_on_arrival() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    await complete_one(admission, clock, 4.0, tokens=100)
    running = await Call(admission).start()
    deadline = clock.now + 6.0
    with (
        pytest.raises(GenirError, match="deadline"),
        admission.admit("a", deadline, min_tokens=100),
    ):
        raise AssertionError("admitted")
    with admission.admit("a", deadline, min_tokens=10):
        pass
    await running.cancel()


async def test_estimate_of_service_time_has_a_margin() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    for seconds in (2.0, 6.0) * 20:
        await complete_one(admission, clock, seconds)
    running = await Call(admission).start()
    # The mean is about 4 s. Every second call with the first deadline would time out.
    tight = await Call(admission, deadline=clock.now + 9.0).start()
    ample = await Call(admission, deadline=clock.now + 13.0).start()
    assert tight.error is not None
    assert tight.error.reason is Reason.OVERLOADED
    assert ample.queued
    for call in (running, ample):
        await call.cancel()


async def test_cancelled_calls_do_not_shorten_the_estimate() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    await complete_one(admission, clock, 4.0)
    for _ in range(20):
        left = await Call(admission).start()
        clock.now += 0.1
        await left.cancel()
    running = await Call(admission).start()
    hopeless = await Call(admission, deadline=clock.now + 4.0).start()
    assert hopeless.error is not None
    assert hopeless.error.reason is Reason.OVERLOADED
    await running.cancel()


async def test_cancelled_call_does_not_start_the_estimate() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    left = await Call(admission).start()
    clock.now += 0.1
    await left.cancel()
    await complete_one(admission, clock, 4.0)
    running = await Call(admission).start()
    hopeless = await Call(admission, deadline=clock.now + 4.0).start()
    assert hopeless.error is not None
    await running.cancel()


async def test_calls_that_time_out_lengthen_the_estimate() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    await complete_one(admission, clock, 1.0)
    for _ in range(20):
        late = await Call(admission).start()
        clock.now += 8.0
        await late.cancel()
    running = await Call(admission).start()
    hopeless = await Call(admission, deadline=clock.now + 12.0).start()
    assert hopeless.error is not None
    await running.cancel()


async def test_idle_server_attempts_every_call() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=2), clock)
    await complete_one(admission, clock, 60.0)
    urgent = await Call(admission, deadline=clock.now + 1.0).start()
    assert urgent.running
    await urgent.end()


async def test_call_that_expires_in_the_queue_never_runs() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    running = await Call(admission).start()
    expired = await Call(admission, deadline=clock.now + 1.0).start()
    patient = await Call(admission).start()
    clock.now += 2.0
    await running.end()
    assert expired.error is not None
    assert expired.error.reason is Reason.DEADLINE_EXCEEDED
    assert patient.running
    await patient.end()


async def test_queued_calls_fail_when_the_engine_dies() -> None:
    admission = Admission(AdmissionLimits(max_running=1))
    running = await Call(admission).start()
    waiting = await Call(admission).start()
    admission.fail_queued(Reason.ENGINE_DEAD, "dead")
    await settle()
    assert waiting.error is not None
    assert waiting.error.reason is Reason.ENGINE_DEAD
    assert running.running
    await running.end()


async def test_reserved_calls_are_outside_of_the_limits() -> None:
    admission = Admission(AdmissionLimits(max_calls=1))
    call = await Call(admission).start()
    with admission.reserved():
        assert admission.in_flight == 2
        await call.end()
        assert not await admission.wait_idle(0.01)
    assert await admission.wait_idle(0.01)


def test_unset_limits_follow_from_the_engine() -> None:
    info = EngineInfo("m", (), 4096, "guidance", max_running=16, kv_cache_tokens=1000)
    sized = AdmissionLimits().sized_to(info)
    assert (sized.max_running, sized.max_running_tokens) == (15, 2000)
    chosen = AdmissionLimits(max_running=3, max_running_tokens=7)
    assert chosen.sized_to(info) == chosen
