"""Detects a caller that does not read its stream, with one timer for the whole stream."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class SlowReaderWatch:
    """Calls back when a write has waited for too long.

    A timer for every write would cost more than the text of the stream itself.

    Args:
        timeout: seconds that a write may wait.
        on_timeout: called once, when a write has waited for that long.
    """

    def __init__(self, timeout: float, on_timeout: Callable[[], None]) -> None:
        self.write_began: float | None = None
        """When the pending write began, on the monotonic clock; None between writes.

        Set by the writer.
        """
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches for the length of a ``with`` block."""
        self._check_after(self._timeout)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _check_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def _check(self) -> None:
        began = self.write_began
        left = self._timeout if began is None else began + self._timeout - time.monotonic()
        if left > 0:
            self._check_after(left)
        else:
            self._on_timeout()
