"""Which process and event loop may use an asyncio channel of gRPC."""

from __future__ import annotations

import asyncio
import os

_FORKED = (
    "gRPC's asyncio side does not work in a process that was forked after an AsyncIRClient was "
    "used: fork before the first call, start processes with the method spawn, or use IRClient"
)
_OTHER_LOOP = "another event loop, which is not closed, uses this client: make a client for each"

_first_process: int | None = None


def is_forked() -> bool:
    """Whether this process was forked from one in which an asyncio channel had been opened."""
    return _first_process not in (None, os.getpid())


class LoopOwner:
    """The event loop that an asyncio channel belongs to."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def changes(self) -> bool:
        """Whether the running event loop is a new one, so that it needs a new channel.

        The channel of a closed event loop is of no use, and needs no closing.

        Raises:
            RuntimeError: the process was forked after an asyncio channel had been opened, where
                gRPC would hang; or the event loop before is not closed.

        """
        global _first_process  # noqa: PLW0603 - gRPC's threads are those of the process
        if is_forked():
            raise RuntimeError(_FORKED)
        _first_process = os.getpid()
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return False
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(_OTHER_LOOP)
        self._loop = loop
        return True
