"""Admission control: counts calls, queues them before the engine, refuses what will not fit.

A call is checked twice. On arrival it is counted, before any work is done for it. When its prompt
is rendered and its tokens are known, it joins the queue before the engine. The queue is ordered by
priority (the lower number first), then by the caller with the fewest running calls, then by
arrival. The first call in the queue waits for room and is not overtaken, so large calls do not
starve.

A call that likely cannot complete before its deadline is refused, on arrival or when it would have
to queue, and dropped when that becomes clear in the queue. This applies only while calls are
queued; an idle server attempts every call.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING

from genir_server.admission.service_time import ServiceTime
from genir_server.domain.errors import GenirError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genir_server.admission.limits import AdmissionLimits
    from genir_server.engine.protocol import EngineInfo

_DEFAULT_RETRY_SECONDS = 1.0
_MIN_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 30.0


class _State(Enum):
    ADMITTED = auto()
    QUEUED = auto()
    RUNNING = auto()
    ENDED = auto()


class Ticket:
    """One admitted call, until it ends. It is the `core.generate.Ticket` of that call."""

    def __init__(
        self, admission: Admission, number: int, caller: str, deadline: float | None, priority: int
    ) -> None:
        self.caller = caller
        self.deadline = deadline
        self.priority = priority
        self.number = number
        self.tokens = 0
        self.state = _State.ADMITTED
        self.room: asyncio.Future[None] | None = None
        self.running_since = 0.0
        self._admission = admission

    async def wait(self, tokens: int, priority: int) -> None:
        """Waits in the queue until the engine has room. The call then holds its place to its end.

        Args:
            tokens: the tokens of its prompt plus its `max_tokens`.
            priority: the lower number goes first.

        Raises:
            GenirError: OVERLOADED or DEADLINE_EXCEEDED if the wait is, or is expected to be, too
                long, or the error that `Admission.fail_queued` was given.
        """
        await self._admission.wait_for_room(self, tokens, priority)


class Admission:
    """Holds calls to the limits and decides which queued call runs next.

    Args:
        limits: the limits; `fit_to` derives unset ones from the engine.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, limits: AdmissionLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self._configured_limits = limits
        self._clock = clock
        self._service_time = ServiceTime()
        self._next_number = 0
        self._in_flight: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._running_tokens = 0
        self._queue: list[Ticket] = []
        self._reserved = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Calls in flight: in preparation, queued, running, and the server's own."""
        return self._in_flight.total() + self._reserved

    @property
    def running(self) -> int:
        """Calls in the engine."""
        return self._running.total()

    @property
    def running_tokens(self) -> int:
        """Estimated tokens of the calls in the engine."""
        return self._running_tokens

    @property
    def queued(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    def fit_to(self, engine: EngineInfo) -> None:
        """Derives the limits that the operator left unset from this engine's capacity."""
        self.limits = self._configured_limits.sized_to(engine)
        self._run_queued()

    @contextmanager
    def admit(
        self,
        caller: str = "",
        deadline: float | None = None,
        priority: int = 0,
        *,
        min_tokens: int = 0,
    ) -> Iterator[Ticket]:
        """Admits one call for the length of the block.

        Args:
            caller: the name under which calls are counted and treated fairly.
            deadline: when the call must be done, on the clock; None for never.
            priority: the lower number goes first.
            min_tokens: lower bound of its tokens, known before the prompt is rendered. It lets more
                refusals happen on arrival, where they cost least.

        Raises:
            GenirError: OVERLOADED if there is no room, or none in time.
        """
        self._check_on_arrival(caller, deadline, priority, min_tokens)
        ticket = Ticket(self, self._next_number, caller, deadline, priority)
        self._next_number += 1
        self._in_flight[caller] += 1
        self._idle.clear()
        completed = False
        try:
            yield ticket
            completed = True
        finally:
            self._end(ticket, completed=completed)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Counts a call of the server's own as in flight. It is not held to the limits."""
        self._reserved += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._reserved -= 1
            self._update_idle()

    def fail_queued(self, reason: Reason, message: str) -> None:
        """Fails every queued call with this error."""
        for ticket in tuple(self._queue):
            self._refuse(ticket, GenirError(reason, message))

    async def wait_idle(self, timeout: float) -> bool:
        """Waits until no call is in flight; returns False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_room(self, ticket: Ticket, tokens: int, priority: int) -> None:
        """Queues a call until the engine has room for it; see `Ticket.wait`."""
        ticket.tokens, ticket.priority = tokens, priority
        if not self._fits(ticket) or any(
            self._rank(other) < self._rank(ticket) for other in self._queue
        ):
            self._check_may_queue(ticket)
        ticket.room = asyncio.get_running_loop().create_future()
        ticket.state = _State.QUEUED
        self._queue.append(ticket)
        self._run_queued()
        try:
            await ticket.room
        finally:
            if ticket.state is _State.QUEUED:
                self._dequeue(ticket)
                self._run_queued()

    def _check_on_arrival(
        self, caller: str, deadline: float | None, priority: int, min_tokens: int
    ) -> None:
        limits = self.limits
        in_flight = self._in_flight.total()
        if in_flight >= limits.max_calls:
            raise self._overloaded(
                f"{in_flight} calls are in flight, the maximum of this server",
                str(limits.max_calls),
            )
        max_calls = limits.max_calls_per_caller
        if max_calls is not None and self._in_flight[caller] >= max_calls:
            raise self._overloaded(
                f"{self._in_flight[caller]} of your calls are in flight, the maximum per caller",
                str(max_calls),
            )
        if deadline is None or limits.max_running is None or self.running < limits.max_running:
            return
        # Calls in preparation will join the queue, too.
        preparing = in_flight - self.running - self.queued
        ahead = preparing + sum(ticket.priority <= priority for ticket in self._queue)
        self._check_in_time(ahead + 1, deadline, self._service_time.service_seconds(min_tokens))

    def _check_may_queue(self, ticket: Ticket) -> None:
        max_tokens = self.limits.max_queued_tokens
        queued_tokens = sum(other.tokens for other in self._queue)
        if max_tokens is not None and queued_tokens + ticket.tokens > max_tokens:
            raise self._overloaded(
                f"this call has {ticket.tokens} tokens and the queue {queued_tokens}, together "
                f"more than the maximum of {max_tokens}",
                str(max_tokens),
            )
        if ticket.deadline is not None:
            ahead = sum(self._rank(other) < self._rank(ticket) for other in self._queue)
            seconds = self._service_time.service_seconds(ticket.tokens)
            self._check_in_time(ahead + 1, ticket.deadline, seconds)

    def _check_in_time(self, departures: int, deadline: float, service_seconds: float) -> None:
        wait = self._service_time.seconds_until(departures, self.running)
        remaining = deadline - self._clock()
        if wait is not None and wait + service_seconds > remaining:
            raise self._overloaded(
                f"the call would wait about {wait:.1f} s and run {service_seconds:.1f} s, longer "
                f"than the {max(remaining, 0):.1f} s until its deadline",
                estimated_wait=wait,
            )

    def _run_queued(self) -> None:
        """Runs queued calls, in order, as long as there is room."""
        while self._queue:
            ticket = min(self._queue, key=self._rank)
            remaining = None if ticket.deadline is None else ticket.deadline - self._clock()
            if remaining is not None and remaining <= 0:
                message = "the deadline of the call passed while it was queued"
                self._refuse(ticket, GenirError(Reason.DEADLINE_EXCEEDED, message))
                continue
            if not self._fits(ticket):
                return
            seconds = self._service_time.service_seconds(ticket.tokens)
            if remaining is not None and len(self._queue) > 1 and seconds > remaining:
                self._refuse(
                    ticket,
                    self._overloaded(
                        f"the engine has room, but the call takes about {seconds:.1f} s, longer "
                        f"than the {remaining:.1f} s until its deadline"
                    ),
                )
                continue
            self._run(ticket)

    def _run(self, ticket: Ticket) -> None:
        self._dequeue(ticket)
        ticket.state = _State.RUNNING
        ticket.running_since = self._clock()
        self._running[ticket.caller] += 1
        self._running_tokens += ticket.tokens
        if ticket.room is not None and not ticket.room.done():
            ticket.room.set_result(None)

    def _refuse(self, ticket: Ticket, error: GenirError) -> None:
        self._dequeue(ticket)
        if ticket.room is not None and not ticket.room.done():
            ticket.room.set_exception(error)

    def _dequeue(self, ticket: Ticket) -> None:
        self._queue.remove(ticket)
        ticket.state = _State.ADMITTED

    def _end(self, ticket: Ticket, *, completed: bool) -> None:
        _decrement(self._in_flight, ticket.caller)
        if ticket.state is _State.RUNNING:
            _decrement(self._running, ticket.caller)
            self._running_tokens -= ticket.tokens
            seconds = self._clock() - ticket.running_since
            self._service_time.record(seconds, ticket.tokens, completed=completed)
        ticket.state = _State.ENDED
        self._run_queued()
        self._update_idle()

    def _update_idle(self) -> None:
        if not self.in_flight:
            self._idle.set()

    def _fits(self, ticket: Ticket) -> bool:
        limits, running = self.limits, self.running
        if running == 0:
            return True
        if limits.max_running is not None and running >= limits.max_running:
            return False
        max_tokens = limits.max_running_tokens
        return max_tokens is None or self._running_tokens + ticket.tokens <= max_tokens

    def _rank(self, ticket: Ticket) -> tuple[int, int, int]:
        return ticket.priority, self._running[ticket.caller], ticket.number

    def _overloaded(
        self, why: str, maximum: str = "", *, estimated_wait: float | None = None
    ) -> GenirError:
        # A retry makes sense when the calls that are queued now have run, not before.
        wait = self._service_time.seconds_until(self.queued + 1, self.running)
        retry_after = _DEFAULT_RETRY_SECONDS if wait is None else wait
        metadata = {"max": maximum} if maximum else {}
        if estimated_wait is not None:
            metadata["estimated_wait_seconds"] = f"{estimated_wait:.3f}"
        return GenirError(
            Reason.OVERLOADED,
            f"{why}: try again later or on another server",
            retry_after=min(max(retry_after, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS),
            metadata=metadata,
        )


def _decrement(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        # Otherwise the names of past callers would pile up.
        del counter[name]
