"""Admission control: counts calls, queues them before the engine, refuses what will not fit.

A call is checked twice. On arrival it is counted, before any work is done for it. When its prompt
is rendered and its tokens are known, it joins the queue before the engine, which is ordered by the
callers' shares of the engine (`admission.queue`). The first call in the queue waits for room and is
not overtaken, so large calls do not starve.

A call that likely cannot complete before its deadline is refused, on arrival or when it would have
to queue, and dropped when that becomes clear in the queue. This applies only while calls are
queued; an idle server attempts every call. The calls of other callers count with no more than the
callers' shares, and the time that a call takes is estimated from earlier calls of its caller.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from genir_server.admission.queue import Queue
from genir_server.admission.service_time import ServiceTimes
from genir_server.admission.ticket import State, Ticket
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.shared_places import SharedPlaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from genir_server.admission.limits import AdmissionLimits
    from genir_server.engine.protocol import EngineInfo

_DEFAULT_RETRY_SECONDS = 1.0
_MIN_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 30.0


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
        self._service_times = ServiceTimes()
        self._next_number = 0
        self._in_flight = SharedPlaces(
            "calls are in flight", limits.max_calls, limits.max_calls_per_caller
        )
        self._queued_tokens = SharedPlaces("tokens are queued", limits.max_queued_tokens)
        self._running = SharedPlaces("calls run", None)
        self._running_tokens = 0
        # In preparation: admitted, and not queued yet.
        self._preparing: set[Ticket] = set()
        self._queue = Queue(self._running)
        self._reserved = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Calls in flight: in preparation, queued, running, and the server's own."""
        return self._in_flight.taken + self._reserved

    @property
    def running(self) -> int:
        """Calls in the engine."""
        return self._running.taken

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
        across_callers: bool = False,
        min_tokens: int = 0,
    ) -> Iterator[Ticket]:
        """Admits one call for the length of the block.

        Args:
            caller: the name under which calls are counted and treated fairly.
            deadline: when the call must be done, on the clock; None for never.
            priority: the lower number goes first, among the calls of the caller.
            across_callers: whether `priority` also ranks the call among those of other callers.
            min_tokens: lower bound of its tokens, known before the prompt is rendered. It lets more
                refusals happen on arrival, where they cost least.

        Raises:
            GenirError: OVERLOADED if there is no room, or none in time.
        """
        ticket = Ticket(
            self._wait_for_room,
            self._next_number,
            caller,
            deadline,
            priority,
            across_callers=across_callers,
        )
        self._check_on_arrival(ticket, min_tokens)
        self._next_number += 1
        self._in_flight.take(caller)
        self._preparing.add(ticket)
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

    async def _wait_for_room(self, ticket: Ticket, tokens: int, priority: int) -> None:
        """Queues a call until the engine has room for it; see `Ticket.wait`."""
        ticket.tokens, ticket.priority = tokens, priority
        if not self._fits(ticket) or self._queue.has_before(ticket):
            self._check_may_queue(ticket)
        ticket.room = asyncio.get_running_loop().create_future()
        ticket.state = State.QUEUED
        self._preparing.discard(ticket)
        self._queue.add(ticket)
        self._queued_tokens.take(ticket.caller, tokens)
        self._run_queued()
        try:
            await ticket.room
        finally:
            if ticket.state is State.QUEUED:
                self._dequeue(ticket)
                self._run_queued()

    def _check_on_arrival(self, ticket: Ticket, min_tokens: int) -> None:
        refusal = self._in_flight.refusal(ticket.caller)
        if refusal is not None:
            raise self._overloaded(ticket, refusal.why, str(refusal.maximum))
        max_running = self.limits.max_running
        if max_running is not None and self.running >= max_running:
            # Calls in preparation will join the queue, too.
            self._check_in_time(ticket, chain(self._preparing, self._queue), min_tokens)

    def _check_may_queue(self, ticket: Ticket) -> None:
        refusal = self._queued_tokens.refusal(ticket.caller, ticket.tokens)
        if refusal is not None:
            why = f"this call has {ticket.tokens} tokens, {refusal.why}"
            raise self._overloaded(ticket, why, str(refusal.maximum))
        self._check_in_time(ticket, self._queue, ticket.tokens)

    def _check_in_time(self, ticket: Ticket, waiting: Iterable[Ticket], tokens: int) -> None:
        if ticket.deadline is None:
            return
        ahead = self._queue.ahead(ticket, waiting)
        if ahead == 0 and not self._running.held_by(ticket.caller):
            # The next place is its own. How long the calls of others take must not refuse it.
            return
        wait = self._service_times.seconds_until(ahead + 1, self.running)
        service = self._service_times.service_seconds(ticket.caller, tokens)
        remaining = ticket.deadline - self._clock()
        if wait is not None and wait + service > remaining:
            raise self._overloaded(
                ticket,
                f"the call would wait about {wait:.1f} s and run {service:.1f} s, longer than the "
                f"{max(remaining, 0):.1f} s until its deadline",
                estimated_wait=wait,
            )

    def _run_queued(self) -> None:
        """Runs queued calls, in order, as long as there is room."""
        while self._queue:
            ticket = self._queue.first()
            remaining = None if ticket.deadline is None else ticket.deadline - self._clock()
            if remaining is not None and remaining <= 0:
                message = "the deadline of the call passed while it was queued"
                self._refuse(ticket, GenirError(Reason.DEADLINE_EXCEEDED, message))
                continue
            if not self._fits(ticket):
                return
            seconds = self._service_times.service_seconds(ticket.caller, ticket.tokens)
            if remaining is not None and len(self._queue) > 1 and seconds > remaining:
                self._refuse(
                    ticket,
                    self._overloaded(
                        ticket,
                        f"the engine has room, but the call takes about {seconds:.1f} s, longer "
                        f"than the {remaining:.1f} s until its deadline",
                    ),
                )
                continue
            self._run(ticket)

    def _run(self, ticket: Ticket) -> None:
        self._dequeue(ticket, gets_place=True)
        ticket.state = State.RUNNING
        ticket.running_since = self._clock()
        self._running.take(ticket.caller)
        self._running_tokens += ticket.tokens
        if ticket.room is not None and not ticket.room.done():
            ticket.room.set_result(None)

    def _refuse(self, ticket: Ticket, error: GenirError) -> None:
        self._dequeue(ticket)
        if ticket.room is not None and not ticket.room.done():
            ticket.room.set_exception(error)

    def _dequeue(self, ticket: Ticket, *, gets_place: bool = False) -> None:
        self._queue.remove(ticket, gets_place=gets_place)
        self._queued_tokens.give_back(ticket.caller, ticket.tokens)
        ticket.state = State.ADMITTED

    def _end(self, ticket: Ticket, *, completed: bool) -> None:
        self._in_flight.give_back(ticket.caller)
        self._preparing.discard(ticket)
        if ticket.state is State.RUNNING:
            self._running.give_back(ticket.caller)
            self._running_tokens -= ticket.tokens
            seconds = self._clock() - ticket.running_since
            self._service_times.record(ticket.caller, seconds, ticket.tokens, completed=completed)
        ticket.state = State.ENDED
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

    def _overloaded(
        self, ticket: Ticket, why: str, maximum: str = "", *, estimated_wait: float | None = None
    ) -> GenirError:
        # A retry makes sense when the calls that are queued before it now have run, not before.
        ahead = self._queue.ahead(ticket, self._queue)
        wait = self._service_times.seconds_until(ahead + 1, self.running)
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
