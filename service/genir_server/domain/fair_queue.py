"""A queue of things to be used in turns, in which nobody waits behind one other's many."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Hands out items that come back, such as workers, to callers in turns.

    When an item comes and several callers wait, each caller's oldest wait is served in turn (round
    robin), so that a caller who asks once waits for at most one item of each of the others, however
    often they ask.
    """

    def __init__(self) -> None:
        self._free: deque[Item] = deque()
        # In the order in which callers are served next. None has an empty line.
        self._lines: dict[str, deque[asyncio.Future[Item]]] = {}

    @property
    def free(self) -> int:
        """How many items nobody has."""
        return len(self._free)

    def put(self, item: Item) -> None:
        """Gives an item to whoever is next, or keeps it until somebody comes."""
        while self._lines:
            caller, line = next(iter(self._lines.items()))
            waiter = line.popleft()
            # One that was cancelled and has not noticed yet costs its caller no turn.
            waits = not waiter.done()
            if waits or not line:
                del self._lines[caller]
            if waits:
                if line:
                    # To the end: the others come first now.
                    self._lines[caller] = line
                waiter.set_result(item)
                return
        self._free.append(item)

    async def get(self, caller: str) -> Item:
        """The next item; waits for this caller's turn while there is none."""
        if self._free:
            return self._free.popleft()
        waiter: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(caller, deque()).append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # It came in the same moment: the next one may have it.
                self.put(waiter.result())
            else:
                self._forget(caller, waiter)
            raise

    def _forget(self, caller: str, waiter: asyncio.Future[Item]) -> None:
        line = self._lines.get(caller)
        # `put` may have come across it first.
        if line is not None and waiter in line:
            line.remove(waiter)
            if not line:
                del self._lines[caller]
