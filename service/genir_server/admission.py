"""How many generate calls are under way, and whether one more may come in."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genir_server.core.errors import GenirError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRY_AFTER_SECONDS = 1.0


class Admission:
    """Counts calls in flight against a bound.

    Args:
        limit: most calls in flight.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self._in_flight

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Holds one place for the length of the block.

        Raises:
            GenirError: OVERLOADED when every place is taken.
        """
        if self._in_flight >= self._limit:
            raise GenirError(
                Reason.OVERLOADED,
                f"{self._in_flight} calls are under way, the most this server takes: try again "
                "later or elsewhere",
                retry_after=_RETRY_AFTER_SECONDS,
                metadata={"limit": str(self._limit)},
            )
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def wait_idle(self, timeout: float) -> bool:
        """Waits until no call is under way; False when `timeout` seconds passed first."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
