"""A pool whose items go to waiting callers in fair shares of time.

One caller's backlog never blocks the others, however long each of its jobs takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Callers whose time is remembered before those whose time no longer matters are forgotten.
_MAX_REMEMBERED = 256


class FairQueue(Generic[Item]):
    """A pool of reusable items, such as workers.

    When an item becomes free and several callers wait, it goes to the caller that has held items
    for the shortest time since callers began to wait; among equals round-robin. Each caller's
    requests are served in order. So a caller with short jobs waits for little more than the items
    that others hold already, however many requests they have and however long their jobs take.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996) with equal weights: a caller that
    comes later starts with the time of those that wait, not with credit for its absence.
    """

    def __init__(self) -> None:
        self._free: deque[Item] = deque()
        # Callers in the order in which they are served among equals. No queue is empty.
        self._queues: dict[str, deque[asyncio.Future[Item]]] = {}
        # Seconds for which callers have held items, while others waited.
        self._used: dict[str, float] = {}
        self._served = 0.0

    @property
    def free(self) -> int:
        """Number of free items."""
        return len(self._free)

    def put(self, item: Item, caller: str = "", seconds: float = 0.0) -> None:
        """Adds an item, or returns one: the caller that is next gets it, if one waits.

        Args:
            item: the item.
            caller: who had it.
            seconds: for how long.
        """
        if self._queues and seconds:
            self._used[caller] = self._used_by(caller) + seconds
        while self._queues:
            following = min(self._queues, key=self._used_by)
            queue = self._queues.pop(following)
            # A cancelled waiter that has not run yet does not cost its caller a turn.
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                self._serve(following, queue, item)
                return
        # Nobody waits, so nobody has to be fair.
        self._used.clear()
        self._served = 0.0
        self._free.append(item)

    async def get(self, caller: str) -> Item:
        """Takes an item; waits for this caller's turn while none is free."""
        if self._free:
            return self._free.popleft()
        waiter: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The item arrived together with the cancellation: pass it on.
                self.put(waiter.result())
            else:
                self._remove(caller, waiter)
            raise

    def _serve(self, caller: str, queue: deque[asyncio.Future[Item]], item: Item) -> None:
        queue.popleft().set_result(item)
        if queue:
            # Behind the other callers with as much time.
            self._queues[caller] = queue
        self._served = self._used_by(caller)
        if len(self._used) > _MAX_REMEMBERED:
            self._used = {each: used for each, used in self._used.items() if used > self._served}

    def _used_by(self, caller: str) -> float:
        return max(self._used.get(caller, 0.0), self._served)

    def _remove(self, caller: str, waiter: asyncio.Future[Item]) -> None:
        queue = self._queues.get(caller)
        # `put` may have removed it first.
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[caller]
