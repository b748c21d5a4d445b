"""One call's place in admission, from its arrival to its end."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable


class State(Enum):
    """Where an admitted call is."""

    ADMITTED = auto()
    QUEUED = auto()
    RUNNING = auto()
    ENDED = auto()


class Ticket:
    """One admitted call, until it ends. It is the `core.generate.Ticket` of that call.

    Args:
        wait_for_room: queues the call with its tokens and priority, until the engine has room.
        number: the order of arrival.
        caller: the name under which the call is counted.
        deadline: when the call must be done, on the clock of admission; None for never.
        priority: the lower number goes first, among the calls of the caller.
        across_callers: whether `priority` also ranks the call among those of other callers.
    """

    def __init__(
        self,
        wait_for_room: Callable[[Ticket, int, int], Awaitable[None]],
        number: int,
        caller: str,
        deadline: float | None,
        priority: int,
        *,
        across_callers: bool = False,
    ) -> None:
        self.caller = caller
        self.deadline = deadline
        self.priority = priority
        self.number = number
        self.tokens = 0
        self.state = State.ADMITTED
        self.room: asyncio.Future[None] | None = None
        self.running_since = 0.0
        self._across_callers = across_callers
        self._wait_for_room = wait_for_room

    @property
    def level(self) -> int:
        """The priority among the calls of all callers; 0 without the permission for it."""
        return self.priority if self._across_callers else 0

    async def wait(self, tokens: int, priority: int) -> None:
        """Waits in the queue until the engine has room. The call then holds its place to its end.

        Args:
            tokens: the tokens of its prompt plus its `max_tokens`.
            priority: the lower number goes first.

        Raises:
            GenirError: OVERLOADED or DEADLINE_EXCEEDED if the wait is, or is expected to be, too
                long, or the error that `Admission.fail_queued` was given.
        """
        await self._wait_for_room(self, tokens, priority)
