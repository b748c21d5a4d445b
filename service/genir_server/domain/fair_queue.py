"""A pool whose items go to waiting callers in fair shares of time.

One caller's backlog never blocks the others, however long each of its jobs takes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

_RESERVED_SECONDS = 60.0
"""How long after another caller's last request the last free item stays reserved."""

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

    Args:
        reserve: whether the last free item is kept for another caller than those that have an item,
            as long as callers have taken turns within the last minute. Then a caller with long jobs
            makes others wait only where there is a single item.
    """

    def __init__(self, *, reserve: bool = False) -> None:
        self._reserve = reserve
        self._free: deque[Item] = deque()
        # Callers in the order in which they are served among equals. No queue is empty.
        self._queues: dict[str, deque[asyncio.Future[Item]]] = {}
        # Seconds for which callers have held items, while others waited.
        self._used: dict[str, float] = {}
        self._served = 0.0
        self._held: Counter[str] = Counter()
        # The callers of the last request and of the last one of another caller, and when they came.
        self._last = self._last_other = ("", float("-inf"))

    @property
    def free(self) -> int:
        """Number of free items, reserved ones included."""
        return len(self._free)

    def would_wait(self, caller: str) -> bool:
        """Whether a caller that asked for an item now would wait for it."""
        return not self._free or not self._may_have_one(caller)

    def add(self, item: Item) -> None:
        """Adds a new item."""
        self._free.append(item)
        self._serve()

    def put(self, item: Item, caller: str, seconds: float = 0.0) -> None:
        """Returns an item.

        Args:
            item: the item, or another one in its place.
            caller: who had it.
            seconds: for how long.
        """
        if self._queues and seconds:
            self._used[caller] = self._used_by(caller) + seconds
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self.add(item)

    async def get(self, caller: str) -> Item:
        """Takes an item; waits for this caller's turn while none is free."""
        loop = asyncio.get_running_loop()
        if caller != self._last[0]:
            self._last_other = self._last
        self._last = (caller, loop.time())
        waiter: asyncio.Future[Item] = loop.create_future()
        self._queues.setdefault(caller, deque()).append(waiter)
        self._serve()
        try:
            # Awaited even when it is done: a caller that is cancelled gets nothing.
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The item arrived together with the cancellation: pass it on.
                self.put(waiter.result(), caller)
            else:
                self._remove(caller, waiter)
            raise

    def _serve(self) -> None:
        """Gives free items to waiting callers, as far as they may have them."""
        while self._free:
            callers = [caller for caller in self._queues if self._may_have_one(caller)]
            if not callers:
                break
            caller = min(callers, key=self._used_by)
            queue = self._queues.pop(caller)
            # A cancelled waiter that has not run yet does not cost its caller a turn.
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                continue
            queue.popleft().set_result(self._free.popleft())
            self._held[caller] += 1
            if queue:
                # Behind the other callers with as much time.
                self._queues[caller] = queue
            self._served = self._used_by(caller)
            if len(self._used) > _MAX_REMEMBERED:
                kept = {each: used for each, used in self._used.items() if used > self._served}
                self._used = kept
        if not self._queues:
            # Nobody waits, so nobody has to be fair.
            self._used.clear()
            self._served = 0.0

    def _may_have_one(self, caller: str) -> bool:
        if not self._reserve or len(self._free) > 1 or not self._held[caller]:
            return True
        other, came = self._last_other if caller == self._last[0] else self._last
        now = asyncio.get_running_loop().time()
        return other == caller or now - came > _RESERVED_SECONDS

    def _used_by(self, caller: str) -> float:
        return max(self._used.get(caller, 0.0), self._served)

    def _remove(self, caller: str, waiter: asyncio.Future[Item]) -> None:
        queue = self._queues.get(caller)
        # `_serve` may have removed it first.
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[caller]
