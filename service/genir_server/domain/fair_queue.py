"""A pool whose items go to waiting callers round-robin.

One caller's backlog never blocks the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A pool of reusable items, such as workers.

    When an item becomes free and several callers wait, the callers are served round-robin, each
    with its oldest request. So a caller with one request waits for no more than one item of each
    other caller, however many requests the others have.
    """

    def __init__(self) -> None:
        self._free: deque[Item] = deque()
        # Callers in the order in which they are served. No queue is empty.
        self._queues: dict[str, deque[asyncio.Future[Item]]] = {}

    @property
    def free(self) -> int:
        """Number of free items."""
        return len(self._free)

    def put(self, item: Item) -> None:
        """Adds an item, or returns one: the next waiting caller gets it, if there is one."""
        while self._queues:
            caller, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            # A cancelled waiter that has not run yet does not cost its caller a turn.
            waits = not waiter.done()
            if waits or not queue:
                del self._queues[caller]
            if waits:
                if queue:
                    # To the end: the other callers are next.
                    self._queues[caller] = queue
                waiter.set_result(item)
                return
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

    def _remove(self, caller: str, waiter: asyncio.Future[Item]) -> None:
        queue = self._queues.get(caller)
        # `put` may have removed it first.
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[caller]
