"""Guards the calls of the standard services, health and reflection.

grpcio answers an undecodable message with UNKNOWN and an exception's text, and waits without limit
for a request message. Here such calls get a documented status and a time limit. Health is open to
every caller; reflection needs the debug permission.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from genir_server.domain.caller import Permission
from genir_server.transport.faults import failure_of
from genir_server.transport.messages import (
    MESSAGE_SECONDS,
    CallOverError,
    decode_message,
    read_message,
)
from genir_server.transport.status import end_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

    from genir_server.auth.authentication import Authentication
    from genir_server.domain.errors import GenirError

    Context = grpc.aio.ServicerContext[Any, Any]
    Decode = Callable[[bytes], Message]

_OWN_SERVICES = "/genir.v1."
_HEALTH_SERVICE = "/grpc.health.v1.Health/"


class StandardServicesInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method outside IRService.

    Args:
        authentication: identifies callers; None where only health is served.
        message_timeout: seconds within which the first message must arrive.
    """

    def __init__(
        self,
        authentication: Authentication | None = None,
        *,
        message_timeout: float = MESSAGE_SECONDS,
    ) -> None:
        self._authentication = authentication
        self._message_timeout = message_timeout

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - what grpc.aio declares.
        """Replaces the handler of a standard service's method with a guarded one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OWN_SERVICES):
            return handler
        if handler.response_streaming:
            behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(
                self._guarded_stream(
                    method, handler.request_deserializer, behavior, many=handler.request_streaming
                ),
                request_deserializer=None,
                response_serializer=handler.response_serializer,
            )
        return grpc.stream_unary_rpc_method_handler(
            self._guarded_unary(method, handler.request_deserializer, handler.unary_unary),
            request_deserializer=None,
            response_serializer=handler.response_serializer,
        )

    def _guarded_unary(
        self, method: str, decode: Decode, behavior: Callable[..., Any]
    ) -> Callable[..., Any]:
        async def call(_: object, context: Context) -> object:
            async with self._guard(method, context):
                return await behavior(await self._first(context, decode), context)

        return call

    def _guarded_stream(
        self, method: str, decode: Decode, behavior: Callable[..., Any], *, many: bool
    ) -> Callable[..., Any]:
        async def call(_: object, context: Context) -> None:
            async with self._guard(method, context):
                requests = (
                    _requests(context, decode) if many else await self._first(context, decode)
                )
                answers = behavior(requests, context)
                if not isinstance(answers, AsyncGenerator):
                    await answers  # Watch, for example, writes by itself.
                    return
                # grpc.aio itself never closes the generator of a cancelled call.
                async with aclosing(answers) as responses:
                    async for response in responses:
                        await context.write(response)

        return call

    async def _first(self, context: Context, decode: Decode) -> Message:
        return _decoded(await read_message(context, self._message_timeout), decode)

    @asynccontextmanager
    async def _guard(self, method: str, context: Context) -> AsyncIterator[None]:
        request_id = f"gen-{uuid.uuid4().hex}"
        failure: GenirError | None = None
        try:
            if self._authentication is not None and not method.startswith(_HEALTH_SERVICE):
                self._authentication.caller_of(context).require(Permission.DEBUG)
            yield
        except grpc.aio.AbortError:
            raise
        except (CallOverError, grpc.aio.InternalError):
            raise asyncio.CancelledError from None
        except Exception as error:  # noqa: BLE001 - the last place that can turn it into a status.
            failure = failure_of(error, with_text=False, request_id=request_id, method=method)
        if failure is not None:
            await end_with(context, failure, request_id)


async def _requests(context: Context, decode: Decode) -> AsyncIterator[Message]:
    while isinstance(raw := await context.read(), bytes):
        yield _decoded(raw, decode)


def _decoded(raw: bytes, decode: Decode) -> Message:
    return decode_message(raw, decode, "a message of the method's request type")
