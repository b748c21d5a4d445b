"""Notices a stream that its caller does not read, at the cost of one timer for the whole stream."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class SlowReaderWatch:
    """Whether a write has been waiting for too long.

    A timer for every write would cost a stream more than its text does.

    Args:
        timeout: seconds that a write may wait.
        give_up: is called once, when one has waited for that long.
    """

    def __init__(self, timeout: float, give_up: Callable[[], None]) -> None:
        self.waits_since: float | None = None
        """When the write that waits began, on the monotonic clock; set by whoever writes."""
        self._timeout = timeout
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watches inside of a ``with`` block."""
        self._look_after(self._timeout)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _look_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        began = self.waits_since
        left = self._timeout if began is None else began + self._timeout - time.monotonic()
        if left > 0:
            self._look_after(left)
        else:
            self._give_up()
