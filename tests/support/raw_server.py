"""A gRPC server that answers every method with bytes of the test's choice, valid or not."""

from __future__ import annotations

from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import grpc
from google.rpc import status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Answer:
    """The answer to a call: messages, then the status."""

    messages: Sequence[bytes] = ()
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    trailers: Sequence[tuple[str, str | bytes]] = ()


def failed(
    *details: tuple[str, bytes], code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
) -> Answer:
    """A status with details, each a type and the bytes of its message."""
    status = status_pb2.Status(code=code.value[0], message="scripted")
    for name, value in details:
        status.details.add(type_url=f"type.googleapis.com/{name}", value=value)
    return Answer(
        code=code, details="scripted", trailers=[(DETAILS_KEY, status.SerializeToString())]
    )


class RawServer(grpc.GenericRpcHandler):
    """A server on a free loopback port.

    Attributes:
        answer: what every call gets.
        calls: the number of calls so far.

    """

    def __init__(self) -> None:
        self.answer = Answer()
        self.calls = 0
        self._server = grpc.server(
            futures.ThreadPoolExecutor(4),
            handlers=[self],
            options=[("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 32 * 1024 * 1024)],
        )
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        assert handler_call_details.method.startswith("/genir.v1.IRService/")
        # One handler for all: to HTTP/2, a unary method differs only in the number of messages.
        return grpc.unary_stream_rpc_method_handler(self._call)

    def _call(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        assert isinstance(request, bytes)
        self.calls += 1
        answer = self.answer
        context.set_trailing_metadata(tuple(answer.trailers))
        yield from answer.messages
        context.set_code(answer.code)
        context.set_details(answer.details)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(0).wait()
