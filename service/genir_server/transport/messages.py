"""The one message of a call, read by the server itself and within a time limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from genir_server.domain.errors import GenirError, Reason

if TYPE_CHECKING:
    import grpc

MESSAGE_SECONDS = 30.0
"""Time in which the request message of a call has to arrive."""


async def read_message(context: grpc.aio.ServicerContext[Any, Any], timeout: float) -> bytes:
    """The first message of a call, as bytes.

    Raises:
        GenirError: DEADLINE_EXCEEDED when it does not arrive within `timeout` seconds,
            MESSAGE_UNDECODABLE when the call ends without one.
    """
    try:
        async with asyncio.timeout(timeout) as patience:
            raw = await context.read()
    except TimeoutError:
        if not patience.expired():
            raise
        raise GenirError(
            Reason.DEADLINE_EXCEEDED, f"the request did not arrive within {timeout:g} s"
        ) from None
    if not isinstance(raw, bytes):
        raise GenirError(Reason.MESSAGE_UNDECODABLE, "the call carries no request")
    return raw
