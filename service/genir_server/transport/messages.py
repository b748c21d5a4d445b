"""The messages of a call, read by the server itself: the first one within a time limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from genir_server.domain.errors import GenirError, Reason
from genir_server.transport.ended_calls import read_failed
from genir_server.transport.message_fields import check_field_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

MESSAGE_SECONDS = 30.0
"""Time in which the request message of a call has to arrive."""


class CallOverError(Exception):
    """The call has ended before its message was read. Nothing can be sent any more.

    Args:
        code: what the log and the metrics record.
        detail: the cause, for the log.
    """

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


async def read_message(context: grpc.aio.ServicerContext[Any, Any], timeout: float) -> bytes:
    """The first message of a call, as bytes.

    Raises:
        GenirError: DEADLINE_EXCEEDED when it does not arrive within `timeout` seconds,
            MESSAGE_UNDECODABLE when the caller sends none.
        CallOverError: grpc-core or the caller has ended the call.
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
    if isinstance(raw, bytes):
        return raw
    if read_failed():
        raise CallOverError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "grpc-core refused the message: it is over --max-message-bytes or malformed",
        )
    # Sending is the only way to learn whether the call goes on without a message.
    try:
        await context.send_initial_metadata(())
    except grpc.aio.InternalError:
        raise CallOverError(
            grpc.StatusCode.CANCELLED, "the caller left before its request was complete"
        ) from None
    raise GenirError(Reason.MESSAGE_UNDECODABLE, "the call carries no complete request")


def decode_message(raw: bytes, decode: Callable[[bytes], Message], name: str) -> Message:
    """The message that these bytes encode.

    grpc-core does not decompress messages here, so a compressed one is refused as well.

    Args:
        raw: what the caller sent.
        decode: the method's deserializer.
        name: what the message should be, for the error.

    Raises:
        GenirError: MESSAGE_UNDECODABLE; INVALID_FIELD if it has too many fields.
    """
    message_type = getattr(decode, "__self__", None)
    if message_type is not None:
        check_field_count(raw, message_type.DESCRIPTOR)
    try:
        return decode(raw)
    except DecodeError as fault:
        raise GenirError(
            Reason.MESSAGE_UNDECODABLE,
            f"the {len(raw)} bytes are not {name}, or they are compressed: "
            "send messages without compression",
        ) from fault
