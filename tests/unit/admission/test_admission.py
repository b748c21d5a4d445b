"""Admission control: invariants under random calls, order of the queue, refusals."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir_server.admission import Admission, AdmissionLimits, Ticket
from genir_server.domain.errors import GenirError, Reason
from genir_server.engine.protocol import EngineInfo

STARTS = itertools.count()
"""Numbers calls in the order in which they start to run."""


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
    across_callers: bool = False
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False
    started: int | None = None
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
            with self.admission.admit(
                self.caller, self.deadline, self.priority, across_callers=self.across_callers
            ) as self.ticket:
                await self.ticket.wait(self.tokens, self.priority)
                self.running, self.started = True, next(STARTS)
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
                call = await Call(
                    admission, caller, priority, tokens, deadline, across_callers=caller == "c"
                ).start()
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
    # Nothing of past calls and callers piles up.
    assert not admission._in_flight.callers()
    assert not admission._queued_tokens.callers()
    assert not admission._running.callers()
    assert not admission._preparing
    assert not admission._queue._turns
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
        (first,) = (call for call in queued if call.ticket is admission._queue.first())
        assert running
        assert len(running) == LIMITS.max_running or (
            admission.running_tokens + first.tokens > (LIMITS.max_running_tokens or 0)
        )
    # Every refusal has a reason, and a retry delay if a retry helps.
    for call in calls:
        if call.error is not None:
            assert call.error.reason in (Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED)
            assert (call.error.retry_after is not None) == (call.error.reason is Reason.OVERLOADED)


OTHERS = "wxyz"
FLOOD = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from(OTHERS), st.integers(-1000, 1000)),
        st.tuples(st.just("end"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 50), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(1, 4), FLOOD, st.integers(-1000, 1000), FLOOD)
@settings(max_examples=200, deadline=None)
def test_one_call_waits_for_at_most_one_call_of_each_other_caller(
    places: int, before: list[Any], priority: int, after: list[Any]
) -> None:
    asyncio.run(_check_wait_of_one_call(places, before, priority, after))


async def _check_wait_of_one_call(
    places: int, before: list[Any], priority: int, after: list[Any]
) -> None:
    admission = Admission(AdmissionLimits(max_calls=10_000, max_running=places))
    calls: list[Call] = []

    async def flood(steps: list[Any]) -> None:
        for action, which, sent in steps:
            if action == "arrive":
                calls.append(await Call(admission, which, sent).start())
                continue
            some = [call for call in calls if (call.running if action == "end" else call.queued)]
            if some:
                chosen = some[which % len(some)]
                await (chosen.end() if action == "end" else chosen.cancel())

    await flood(before)
    one = await Call(admission, "one", priority).start()
    earlier = {id(call) for call in calls if call.started is not None}
    if one.queued:
        await flood(after)
    while one.queued:
        # More calls than there are places arrive for each place that becomes free.
        calls.extend([await Call(admission, caller, -1000).start() for caller in OTHERS])
        await next(call for call in calls if call.running).end()
    assert one.started is not None
    passed = Counter(
        call.caller
        for call in calls
        if id(call) not in earlier and call.started is not None and call.started < one.started
    )
    assert all(count <= 1 for count in passed.values()), passed
    for call in [one, *calls]:
        if call.task is not None and not call.task.done():
            await call.cancel()


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


@pytest.mark.parametrize("places", [1, 2])
async def test_priority_of_one_caller_does_not_starve_another(places: int) -> None:
    admission = Admission(AdmissionLimits(max_running=places))
    flooding = [await Call(admission, "flooding", -1000).start() for _ in range(12)]
    others = [await Call(admission, "other").start() for _ in range(3)]
    for _ in range(6):
        running = [call for call in flooding + others if call.running]
        await min(running, key=lambda call: call.started or 0).end()
    assert sum(call.started is not None for call in others) == 3
    for call in flooding + others:
        await call.cancel()


async def test_permission_ranks_calls_among_those_of_other_callers() -> None:
    admission = Admission(AdmissionLimits(max_running=1))
    first = await Call(admission, "other").start()
    behind = await Call(admission, "batch", 5, across_callers=True).start()
    without = [await Call(admission, "other", number).start() for number in (-1000, 1000)]
    urgent = [await Call(admission, "urgent", -1, across_callers=True).start() for _ in range(2)]
    order = []
    waiting = [*urgent, *without, behind]
    await first.end()
    for _ in waiting:
        (now,) = (call for call in waiting if call.running)
        order.append(waiting.index(now))
        await now.end()
    assert order == [0, 1, 2, 3, 4]


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


async def test_queued_calls_of_others_do_not_make_a_wait_look_too_long() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=4), clock)
    await complete_one(admission, clock, 4.0, caller="flooding")
    await complete_one(admission, clock, 4.0, caller="other")
    flooding = [await Call(admission, "flooding", -1000).start() for _ in range(200)]
    # A call of 4 s ends every second. By the order of arrival, these would wait for minutes.
    others = [await Call(admission, "other", deadline=clock.now + 12.0).start() for _ in range(4)]
    assert [call.error for call in others] == [None] * 4
    # The flooding caller's own calls do count.
    (hopeless,) = [await Call(admission, "flooding", deadline=clock.now + 12.0).start()]
    assert hopeless.error is not None
    assert hopeless.error.reason is Reason.OVERLOADED
    for call in flooding + others:
        await call.cancel()


async def test_calls_of_others_in_preparation_do_not_make_a_wait_look_too_long() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    await complete_one(admission, clock, 4.0, caller="flooding")
    running = await Call(admission, "flooding").start()
    with ExitStack() as preparing:
        for _ in range(100):
            preparing.enter_context(admission.admit("flooding"))
        with admission.admit("other", clock.now + 10.0):
            pass
        with pytest.raises(GenirError), admission.admit("flooding", clock.now + 10.0):
            pass
    await running.cancel()


async def test_long_calls_of_others_do_not_make_a_call_look_long() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_running=1), clock)
    for _ in range(5):
        await complete_one(admission, clock, 60.0, caller="flooding")
    flooding = [await Call(admission, "flooding").start() for _ in range(5)]
    quick = await Call(admission, "other", deadline=clock.now + 5.0).start()
    assert quick.queued
    for call in flooding[:2]:
        clock.now += 1.0
        await call.end()
    assert quick.running
    for call in [*flooding, quick]:
        await call.cancel()


async def test_retry_delay_is_that_of_the_callers_own_turn() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(max_calls=20, max_running=1), clock)
    await complete_one(admission, clock, 1.0, caller="flooding")
    flooding = [await Call(admission, "flooding").start() for _ in range(17)]
    others = [await Call(admission, f"other {number}").start() for number in range(3)]
    refused = await Call(admission, "last").start()
    assert refused.error is not None
    # One call of each other caller with none running goes first.
    assert refused.error.retry_after == pytest.approx(4.0)
    for call in flooding + others:
        await call.cancel()


async def test_one_caller_cannot_hold_all_calls_in_flight() -> None:
    admission = Admission(AdmissionLimits(max_calls=256, max_running=255))
    flooding = [await Call(admission, "flooding").start() for _ in range(300)]
    refused = [call for call in flooding if call.error is not None]
    assert len(refused) == 300 - 228
    assert refused[0].error is not None
    assert "kept for other callers" in refused[0].error.message
    other = await Call(admission, "other").start()
    assert other.running
    for call in [*flooding, other]:
        await call.cancel()


async def test_one_caller_holds_all_calls_in_flight_if_its_limit_says_so() -> None:
    admission = Admission(AdmissionLimits(max_calls=64, max_calls_per_caller=64))
    calls = [await Call(admission).start() for _ in range(65)]
    assert [call.error is None for call in calls] == [True] * 64 + [False]
    for call in calls:
        await call.cancel()


async def test_one_caller_cannot_hold_all_tokens_of_the_queue() -> None:
    admission = Admission(AdmissionLimits(max_running=1, max_queued_tokens=1000))
    flooding = [await Call(admission, "flooding", tokens=10).start() for _ in range(200)]
    assert admission.queued == 89
    refused = next(call.error for call in flooding if call.error is not None)
    assert refused.reason is Reason.OVERLOADED
    assert refused.metadata["max"] == "1000"
    other = await Call(admission, "other", tokens=100).start()
    assert other.queued
    for call in [*flooding, other]:
        await call.cancel()


async def test_service_times_of_past_callers_are_forgotten() -> None:
    clock = Clock()
    admission = Admission(AdmissionLimits(), clock)
    for number in range(1100):
        await complete_one(admission, clock, 1.0, caller=f"caller {number}")
    assert len(admission._service_times._of_callers) == 1024
    assert admission._service_times.service_seconds("caller 0", 10) == 0.0
    assert admission._service_times.service_seconds("caller 1099", 10) > 0.0


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
