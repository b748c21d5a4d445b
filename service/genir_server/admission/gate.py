"""The gate in front of the core: a bounded house, a queue before the engine, refusals at once.

A call passes twice. At the door it is counted, before anything is spent on it. When its prompt has
been made and its tokens are known, it waits for its turn at the engine: the lowest priority number
goes first, then the caller with the fewest calls in the engine, then whoever came first. The one
whose turn it is waits for room and is not overtaken, so that large calls do not starve.

What cannot be done in time is not begun: a call is refused at the door, or when it would have to
wait, if its deadline is likely to pass first, and dropped when that becomes clear while it waits.
Only a call that others wait with or behind is; an idle server tries everything.
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
    INSIDE = auto()
    WAITING = auto()
    RUNNING = auto()
    LEFT = auto()


class Visit:
    """One call, from the door to its end. It is the `core.generate.Ticket` of that call."""

    def __init__(
        self, gate: Admission, number: int, caller: str, deadline: float | None, priority: int
    ) -> None:
        self.caller = caller
        self.deadline = deadline
        self.priority = priority
        self.number = number
        self.tokens = 0
        self.state = _State.INSIDE
        self.turn: asyncio.Future[None] | None = None
        self.turn_began = 0.0
        self._gate = gate

    async def wait(self, tokens: int, priority: int) -> None:
        """Waits until the engine has room for this call; it keeps its place until it leaves.

        Raises:
            GenirError: OVERLOADED or DEADLINE_EXCEEDED when the turn will not come in time, or
                what the queue was told to fail with.
        """
        await self._gate.take_turn(self, tokens, priority)


class Admission:
    """Counts calls against bounds and says whose turn it is.

    Args:
        limits: the bounds; `size_to` replaces them once the engine is known.
        clock: seconds that never go back.
    """

    def __init__(
        self, limits: AdmissionLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._pace = Pace()
        self._next_number = 0
        self._inside: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._running_tokens = 0
        self._waiting: list[Visit] = []
        self._reserved = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Calls under way, wherever they are."""
        return self._inside.total() + self._reserved

    @property
    def running(self) -> int:
        """Calls that have their turn at the engine."""
        return self._running.total()

    @property
    def running_tokens(self) -> int:
        """Estimated tokens of those calls."""
        return self._running_tokens

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    def size_to(self, limits: AdmissionLimits) -> None:
        """Replaces the bounds."""
        self.limits = limits
        self._give_turns()

    @contextmanager
    def admit(
        self,
        caller: str = "",
        deadline: float | None = None,
        priority: int = 0,
        *,
        known_tokens: int = 0,
    ) -> Iterator[Visit]:
        """Lets one call into the house for the length of the block.

        Args:
            caller: who calls; counted and treated fairly by this name.
            deadline: when the call must be done, on the clock; None for never.
            priority: the lower number goes first.
            known_tokens: what it asks for, as far as that is known before its prompt is made. The
                more of the refusals happen here, the less they cost.

        Raises:
            GenirError: OVERLOADED when there is no room, or not in time.
        """
        self._check_door(caller, deadline, priority, known_tokens)
        visit = Visit(self, self._next_number, caller, deadline, priority)
        self._next_number += 1
        self._inside[caller] += 1
        self._idle.clear()
        done = False
        try:
            yield visit
            done = True
        finally:
            self._leave(visit, done=done)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Counts a call of the server's own, which needs no room: it has a place of its own."""
        self._reserved += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._reserved -= 1
            self._note_idle()

    def fail_waiting(self, reason: Reason, message: str) -> None:
        """Ends the wait of every call that waits with an error."""
        for visit in tuple(self._waiting):
            self._refuse(visit, GenirError(reason, message))

    async def wait_idle(self, timeout: float) -> bool:
        """Waits until no call is under way; False when `timeout` seconds passed first."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def take_turn(self, visit: Visit, tokens: int, priority: int) -> None:
        """Waits until it is a call's turn; see `Visit.wait`."""
        visit.tokens, visit.priority = tokens, priority
        if not self._fits(visit) or any(
            self._rank(other) < self._rank(visit) for other in self._waiting
        ):
            self._check_may_wait(visit)
        visit.turn = asyncio.get_running_loop().create_future()
        visit.state = _State.WAITING
        self._waiting.append(visit)
        self._give_turns()
        try:
            await visit.turn
        finally:
            if visit.state is _State.WAITING:
                self._stop_waiting(visit)
                self._give_turns()

    def _check_door(
        self, caller: str, deadline: float | None, priority: int, known_tokens: int
    ) -> None:
        limits = self.limits
        inside = self._inside.total()
        if inside >= limits.calls:
            raise self._overloaded(
                f"{inside} calls are under way, the most this server takes", str(limits.calls)
            )
        most = limits.calls_per_caller
        if most is not None and self._inside[caller] >= most:
            raise self._overloaded(
                f"{self._inside[caller]} of your calls are under way, the most one caller may have",
                str(most),
            )
        if deadline is None or limits.running is None or self.running < limits.running:
            return
        # Those who are still being prepared will stand in the queue too.
        preparing = inside - self.running - self.waiting
        ahead = preparing + sum(visit.priority <= priority for visit in self._waiting)
        self._check_in_time(ahead + 1, deadline, self._pace.seconds_inside(known_tokens))

    def _check_may_wait(self, visit: Visit) -> None:
        most = self.limits.waiting_tokens
        waiting_tokens = sum(other.tokens for other in self._waiting)
        if most is not None and waiting_tokens + visit.tokens > most:
            raise self._overloaded(
                f"calls of {waiting_tokens} tokens wait, and with this one's {visit.tokens} they "
                "would be more than may",
                str(most),
            )
        if visit.deadline is not None:
            ahead = sum(self._rank(other) < self._rank(visit) for other in self._waiting)
            inside = self._pace.seconds_inside(visit.tokens)
            self._check_in_time(ahead + 1, visit.deadline, inside)

    def _check_in_time(self, departures: int, deadline: float, seconds_inside: float) -> None:
        wait = self._pace.seconds_until(departures, self.running)
        remaining = deadline - self._clock()
        if wait is not None and wait + seconds_inside > remaining:
            raise self._overloaded(
                f"the wait is about {wait:.1f} s and the work {seconds_inside:.1f} s, longer than "
                f"the {max(remaining, 0):.1f} s until the deadline of the call",
                estimated_wait=wait,
            )

    def _give_turns(self) -> None:
        while self._waiting:
            visit = min(self._waiting, key=self._rank)
            remaining = None if visit.deadline is None else visit.deadline - self._clock()
            if remaining is not None and remaining <= 0:
                message = "the deadline of the call passed while it waited for its turn"
                self._refuse(visit, GenirError(Reason.DEADLINE_EXCEEDED, message))
                continue
            if not self._fits(visit):
                return
            inside = self._pace.seconds_inside(visit.tokens)
            if remaining is not None and len(self._waiting) > 1 and inside > remaining:
                self._refuse(
                    visit,
                    self._overloaded(
                        f"it is this call's turn, but the work takes about {inside:.1f} s, longer "
                        f"than the {remaining:.1f} s until its deadline"
                    ),
                )
                continue
            self._begin_turn(visit)

    def _begin_turn(self, visit: Visit) -> None:
        self._stop_waiting(visit)
        visit.state = _State.RUNNING
        visit.turn_began = self._clock()
        self._running[visit.caller] += 1
        self._running_tokens += visit.tokens
        if visit.turn is not None and not visit.turn.done():
            visit.turn.set_result(None)

    def _refuse(self, visit: Visit, error: GenirError) -> None:
        self._stop_waiting(visit)
        if visit.turn is not None and not visit.turn.done():
            visit.turn.set_exception(error)

    def _stop_waiting(self, visit: Visit) -> None:
        self._waiting.remove(visit)
        visit.state = _State.INSIDE

    def _leave(self, visit: Visit, *, done: bool) -> None:
        _take_away(self._inside, visit.caller)
        if visit.state is _State.RUNNING:
            _take_away(self._running, visit.caller)
            self._running_tokens -= visit.tokens
            self._pace.note(self._clock() - visit.turn_began, visit.tokens, done=done)
        visit.state = _State.LEFT
        self._give_turns()
        self._note_idle()

    def _note_idle(self) -> None:
        if not self.in_flight:
            self._idle.set()

    def _fits(self, visit: Visit) -> bool:
        limits, running = self.limits, self.running
        if running == 0:
            return True
        if limits.running is not None and running >= limits.running:
            return False
        most = limits.running_tokens
        return most is None or self._running_tokens + visit.tokens <= most

    def _rank(self, visit: Visit) -> tuple[int, int, int]:
        return visit.priority, self._running[visit.caller], visit.number

    def _overloaded(
        self, why: str, maximum: str = "", *, estimated_wait: float | None = None
    ) -> GenirError:
        # Whoever is refused comes back when those who wait now have had their turn, not before.
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


def _take_away(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        # Callers come and go; their names must not pile up.
        del counter[name]
