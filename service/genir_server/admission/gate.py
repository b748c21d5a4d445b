"""Admission control: bounds the calls in flight, queues calls for the engine, refuses the rest.

A call is checked twice. On arrival it is counted, before the server spends anything on it. When its
prompt is ready and its tokens are known, it waits in the queue for the engine. The lowest priority
number goes first, then the caller with the fewest calls in the engine, then the oldest call. The
first call in the queue waits for room and is not overtaken, so large calls do not starve.

A call that cannot finish before its deadline does not start. It is refused on arrival, refused when
it joins the queue, or dropped while it waits. This applies only while calls are queued; an idle
server attempts every call.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING

from genir_server.admission.pace import Pace
from genir_server.domain.errors import GenirError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genir_server.admission.limits import AdmissionLimits

_UNKNOWN_RETRY_SECONDS = 1.0
_MIN_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 30.0


class _State(Enum):
    PREPARING = auto()
    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


class AdmissionTicket:
    """One admitted call, until it ends. Implements `core.generate.Ticket`."""

    def __init__(
        self, gate: Admission, number: int, caller: str, deadline: float | None, priority: int
    ) -> None:
        self.caller = caller
        self.deadline = deadline
        self.priority = priority
        self.number = number
        self.tokens = 0
        self.state = _State.PREPARING
        self.started: asyncio.Future[None] | None = None
        self.started_at = 0.0
        self._gate = gate

    async def wait(self, tokens: int, priority: int) -> None:
        """Waits until the engine has room for this call, which then counts as running.

        Raises:
            GenirError: OVERLOADED or DEADLINE_EXCEEDED when the engine has no room in time, or
                the error given to `Admission.fail_waiting`.
        """
        await self._gate.wait_for_room(self, tokens, priority)


class Admission:
    """Counts calls against limits and decides which call goes to the engine next.

    Args:
        limits: the limits; `size_to` replaces them once the engine is known.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self, limits: AdmissionLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._pace = Pace()
        self._next_number = 0
        self._in_flight: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._running_tokens = 0
        self._waiting: list[AdmissionTicket] = []
        self._reserved = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Number of calls in flight: being prepared, waiting and running."""
        return self._in_flight.total() + self._reserved

    @property
    def running(self) -> int:
        """Number of calls in the engine."""
        return self._running.total()

    @property
    def running_tokens(self) -> int:
        """Estimated tokens of the calls in the engine."""
        return self._running_tokens

    @property
    def waiting(self) -> int:
        """Number of calls that wait for the engine."""
        return len(self._waiting)

    def size_to(self, limits: AdmissionLimits) -> None:
        """Replaces the limits."""
        self.limits = limits
        self._start_waiting()

    @contextmanager
    def admit(
        self,
        caller: str = "",
        deadline: float | None = None,
        priority: int = 0,
        *,
        known_tokens: int = 0,
    ) -> Iterator[AdmissionTicket]:
        """Admits one call for the length of the block.

        Args:
            caller: name by which calls are counted and treated fairly.
            deadline: when the call must have ended, on the clock; None for never.
            priority: the lower number goes first.
            known_tokens: its tokens as far as they are known before the prompt is ready. A refusal
                here costs less than a later one.

        Raises:
            GenirError: OVERLOADED when a limit is reached or the deadline cannot be met.
        """
        self._check_on_arrival(caller, deadline, priority, known_tokens)
        ticket = AdmissionTicket(self, self._next_number, caller, deadline, priority)
        self._next_number += 1
        self._in_flight[caller] += 1
        self._idle.clear()
        done = False
        try:
            yield ticket
            done = True
        finally:
            self._end(ticket, done=done)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Counts a call of the server itself, which no limit applies to."""
        self._reserved += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._reserved -= 1
            self._note_idle()

    def fail_waiting(self, reason: Reason, message: str) -> None:
        """Ends the wait of every waiting call with an error."""
        for ticket in tuple(self._waiting):
            self._refuse(ticket, GenirError(reason, message))

    async def wait_idle(self, timeout: float) -> bool:
        """Waits until no call is in flight; False when `timeout` seconds pass first."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_room(self, ticket: AdmissionTicket, tokens: int, priority: int) -> None:
        """Waits until a call may run; see `AdmissionTicket.wait`."""
        ticket.tokens, ticket.priority = tokens, priority
        if not self._fits(ticket) or any(
            self._rank(other) < self._rank(ticket) for other in self._waiting
        ):
            self._check_may_wait(ticket)
        ticket.started = asyncio.get_running_loop().create_future()
        ticket.state = _State.WAITING
        self._waiting.append(ticket)
        self._start_waiting()
        try:
            await ticket.started
        finally:
            if ticket.state is _State.WAITING:
                self._stop_waiting(ticket)
                self._start_waiting()

    def _check_on_arrival(
        self, caller: str, deadline: float | None, priority: int, known_tokens: int
    ) -> None:
        limits = self.limits
        in_flight = self._in_flight.total()
        if in_flight >= limits.calls:
            raise self._overloaded(
                f"{in_flight} calls are in flight, the maximum of this server", str(limits.calls)
            )
        max_calls = limits.calls_per_caller
        if max_calls is not None and self._in_flight[caller] >= max_calls:
            raise self._overloaded(
                f"{self._in_flight[caller]} of your calls are in flight, the maximum per caller",
                str(max_calls),
            )
        if deadline is None or limits.running is None or self.running < limits.running:
            return
        # Calls that are still being prepared will join the queue too.
        preparing = in_flight - self.running - self.waiting
        ahead = preparing + sum(ticket.priority <= priority for ticket in self._waiting)
        self._check_in_time(ahead + 1, deadline, self._pace.run_seconds(known_tokens))

    def _check_may_wait(self, ticket: AdmissionTicket) -> None:
        max_tokens = self.limits.waiting_tokens
        waiting_tokens = sum(other.tokens for other in self._waiting)
        if max_tokens is not None and waiting_tokens + ticket.tokens > max_tokens:
            raise self._overloaded(
                f"the waiting calls have {waiting_tokens} tokens, and this call's {ticket.tokens} "
                "would exceed the maximum",
                str(max_tokens),
            )
        if ticket.deadline is not None:
            ahead = sum(self._rank(other) < self._rank(ticket) for other in self._waiting)
            run_seconds = self._pace.run_seconds(ticket.tokens)
            self._check_in_time(ahead + 1, ticket.deadline, run_seconds)

    def _check_in_time(self, departures: int, deadline: float, run_seconds: float) -> None:
        wait = self._pace.seconds_until(departures, self.running)
        remaining = deadline - self._clock()
        if wait is not None and wait + run_seconds > remaining:
            raise self._overloaded(
                f"the call would wait about {wait:.1f} s and run {run_seconds:.1f} s, longer than "
                f"the {max(remaining, 0):.1f} s until its deadline",
                estimated_wait=wait,
            )

    def _start_waiting(self) -> None:
        while self._waiting:
            ticket = min(self._waiting, key=self._rank)
            remaining = None if ticket.deadline is None else ticket.deadline - self._clock()
            if remaining is not None and remaining <= 0:
                message = "the deadline of the call passed while it waited for the engine"
                self._refuse(ticket, GenirError(Reason.DEADLINE_EXCEEDED, message))
                continue
            if not self._fits(ticket):
                return
            run_seconds = self._pace.run_seconds(ticket.tokens)
            if remaining is not None and len(self._waiting) > 1 and run_seconds > remaining:
                self._refuse(
                    ticket,
                    self._overloaded(
                        f"the engine has room, but the call takes about {run_seconds:.1f} s, "
                        f"longer than the {remaining:.1f} s until its deadline"
                    ),
                )
                continue
            self._start(ticket)

    def _start(self, ticket: AdmissionTicket) -> None:
        self._stop_waiting(ticket)
        ticket.state = _State.RUNNING
        ticket.started_at = self._clock()
        self._running[ticket.caller] += 1
        self._running_tokens += ticket.tokens
        if ticket.started is not None and not ticket.started.done():
            ticket.started.set_result(None)

    def _refuse(self, ticket: AdmissionTicket, error: GenirError) -> None:
        self._stop_waiting(ticket)
        if ticket.started is not None and not ticket.started.done():
            ticket.started.set_exception(error)

    def _stop_waiting(self, ticket: AdmissionTicket) -> None:
        self._waiting.remove(ticket)
        ticket.state = _State.PREPARING

    def _end(self, ticket: AdmissionTicket, *, done: bool) -> None:
        _decrement(self._in_flight, ticket.caller)
        if ticket.state is _State.RUNNING:
            _decrement(self._running, ticket.caller)
            self._running_tokens -= ticket.tokens
            self._pace.note(self._clock() - ticket.started_at, ticket.tokens, done=done)
        ticket.state = _State.ENDED
        self._start_waiting()
        self._note_idle()

    def _note_idle(self) -> None:
        if not self.in_flight:
            self._idle.set()

    def _fits(self, ticket: AdmissionTicket) -> bool:
        limits, running = self.limits, self.running
        if running == 0:
            return True
        if limits.running is not None and running >= limits.running:
            return False
        max_tokens = limits.running_tokens
        return max_tokens is None or self._running_tokens + ticket.tokens <= max_tokens

    def _rank(self, ticket: AdmissionTicket) -> tuple[int, int, int]:
        return ticket.priority, self._running[ticket.caller], ticket.number

    def _overloaded(
        self, why: str, maximum: str = "", *, estimated_wait: float | None = None
    ) -> GenirError:
        # A refused caller should return when the calls that wait now have left the queue.
        wait = self._pace.seconds_until(self.waiting + 1, self.running)
        retry_after = _UNKNOWN_RETRY_SECONDS if wait is None else wait
        metadata = {"max": maximum} if maximum else {}
        if estimated_wait is not None:
            metadata["estimated_wait_seconds"] = f"{estimated_wait:.3f}"
        return GenirError(
            Reason.OVERLOADED,
            f"{why}: try again later or elsewhere",
            retry_after=min(max(retry_after, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS),
            metadata=metadata,
        )


def _decrement(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        # Names of callers without calls must not accumulate.
        del counter[name]
