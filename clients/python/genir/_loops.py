"""Which process and event loop may use an asyncio channel of gRPC."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir._channel import ChannelOption

_FORKED = (
    "gRPC does not work in a process that was forked after an asyncio client was used: fork before "
    "the first call, or start processes with the method spawn"
)
_FORKED_ASYNCIO = (
    "gRPC's asyncio side does not work in a process that was forked after a client was used: "
    "fork before the first call, start processes with the method spawn, or use IRClient"
)
_OTHER_LOOP = "another event loop, which is not closed, uses this client: make a client for each"

# The processes in which channels of each kind were opened first. gRPC's threads belong to them.
_blocking_process: int | None = None
_asyncio_process: int | None = None


def process_of_blocking_channel() -> int:
    """The number of this process, in which a blocking channel may be opened.

    Raises:
        RuntimeError: the process was forked after an asyncio channel had been opened, where gRPC
            hangs at times.

    """
    global _blocking_process  # noqa: PLW0603 - gRPC's threads are those of the process
    process = os.getpid()
    if _asyncio_process not in (None, process):
        raise RuntimeError(_FORKED)
    if _blocking_process is None:
        _blocking_process = process
    return process


def is_forked() -> bool:
    """Whether this process was forked from one in which a channel had been opened."""
    return not {_blocking_process, _asyncio_process} <= {None, os.getpid()}


def options_after_fork() -> tuple[ChannelOption, ...]:
    """Further options of a channel in this process.

    Channels to one address share connections, and gRPC closes those from before a fork while calls
    of a new channel may already use them.
    """
    return (("grpc.use_local_subchannel_pool", 1),) if is_forked() else ()


class LoopOwner:
    """The event loop that an asyncio channel belongs to."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def changes(self) -> bool:
        """Whether the running event loop is a new one, so that it needs a new channel.

        The channel of a closed event loop is of no use, and needs no closing.

        Raises:
                RuntimeError: the process was forked after a channel of either kind had been opened,
                where gRPC hangs at times; or the event loop before is not closed.

        """
        global _asyncio_process  # noqa: PLW0603 - gRPC's threads are those of the process
        if is_forked():
            raise RuntimeError(_FORKED_ASYNCIO)
        _asyncio_process = os.getpid()
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return False
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(_OTHER_LOOP)
        self._loop = loop
        return True
