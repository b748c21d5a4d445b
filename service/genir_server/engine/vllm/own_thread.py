"""Runs a blocking call in a new thread."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


async def run_in_own_thread(function: Callable[[], _T]) -> _T:
    """Like `asyncio.to_thread`, but in a new thread that ends with the call.

    The start of an engine changes its thread's signal mask, which must not happen to a pool's
    thread.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def settle(give: Callable[[], None]) -> None:
        if not result.cancelled():
            give()

    def run() -> None:
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001  # Raised again where the call is awaited.
            loop.call_soon_threadsafe(settle, partial(result.set_exception, error))
        else:
            loop.call_soon_threadsafe(settle, partial(result.set_result, value))

    threading.Thread(target=run, name="genir-engine-start", daemon=True).start()
    return await result
