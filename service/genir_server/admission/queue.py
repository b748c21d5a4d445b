"""The order in which queued calls go to the engine, fair to callers.

The caller with the fewest running calls is next. Callers with equally many take turns: a caller
that gets a place, or that comes to the queue, goes behind all others. So a caller without a running
call waits for at most one call of each other caller, whatever the others send. Its `priority`
orders the calls of one caller. Only callers with a permission for it are ranked before, or behind,
the calls of other callers.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from genir_server.admission.ticket import Ticket
    from genir_server.domain.shared_places import SharedPlaces


class Queue:
    """The queued calls.

    Args:
        running: counts the running calls of each caller.
    """

    def __init__(self, running: SharedPlaces) -> None:
        self._running = running
        self._tickets: list[Ticket] = []
        # The callers with queued calls, and when each came to the queue or last got a place.
        self._turns: dict[str, int] = {}
        self._next_turn = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def add(self, ticket: Ticket) -> None:
        """Adds a call."""
        self._tickets.append(ticket)
        if ticket.caller not in self._turns:
            self._go_to_the_end(ticket.caller)

    def remove(self, ticket: Ticket, *, gets_place: bool = False) -> None:
        """Removes a call, which gets a place in the engine or leaves for another reason."""
        self._tickets.remove(ticket)
        if all(other.caller != ticket.caller for other in self._tickets):
            del self._turns[ticket.caller]
        elif gets_place:
            self._go_to_the_end(ticket.caller)

    def first(self) -> Ticket:
        """Returns the call that is next."""
        return min(self._tickets, key=self._rank)

    def has_before(self, ticket: Ticket) -> bool:
        """Returns whether some call goes before this one, which is not in the queue yet."""
        return any(self._rank(other) < self._rank(ticket) for other in self._tickets)

    def ahead(self, ticket: Ticket, waiting: Iterable[Ticket]) -> int:
        """Returns how many of the calls `waiting` likely get a place before this call.

        Another caller with as many calls as it likes counts with no more than its share.
        """
        before = own = 0
        others: Counter[str] = Counter()
        for other in waiting:
            if other.level != ticket.level:
                before += other.level < ticket.level
            elif other.caller != ticket.caller:
                others[other.caller] += 1
            else:
                own += (other.priority, other.number) < (ticket.priority, ticket.number)
        # No other caller is given more running calls than this caller has when the call's turn
        # comes.
        share = self._running.held_by(ticket.caller) + own + 1
        return (
            before
            + own
            + sum(
                min(count, max(0, share - self._running.held_by(caller)))
                for caller, count in others.items()
            )
        )

    def _go_to_the_end(self, caller: str) -> None:
        self._turns[caller] = self._next_turn
        self._next_turn += 1

    def _rank(self, ticket: Ticket) -> tuple[int, int, int, int, int]:
        return (
            ticket.level,
            self._running.held_by(ticket.caller),
            self._turns.get(ticket.caller, self._next_turn),
            ticket.priority,
            ticket.number,
        )
