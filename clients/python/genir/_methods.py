"""The methods of the service, and how the client reads their responses. Pure.

gRPC is given and gives bytes. When gRPC decodes a message itself and fails, it logs a traceback,
and the asyncio client gets None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from genir import _contract, _decode, types
from genir._contract import BrokenContractError, invalid_response
from genir.v1 import ir_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

_SERVICE = "/genir.v1.IRService"
STREAM_IR = f"{_SERVICE}/StreamIR"

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class UnaryMethod(Generic[RequestT, ResponseT, ResultT]):
    """A method with one response.

    Attributes:
        path: the method's name in HTTP/2.
        response: the class of its response.
        convert: makes the result from the response and the request.

    """

    path: str
    response: type[ResponseT]
    convert: Callable[[ResponseT, RequestT], ResultT]

    def result(self, data: bytes | None, request: RequestT) -> ResultT:
        """The result of a call.

        Args:
            data: the response; None when the call ended with OK without one.
            request: the request.

        Raises:
            InvalidResponseError: the response breaks the contract.

        """
        request_id = ""
        try:
            message = _contract.decoded(self.response, data)
            request_id = getattr(message, "request_id", "")
            return self.convert(message, request)
        except BrokenContractError as broken:
            raise invalid_response(broken, request_id=request_id) from broken


def _server_health(
    message: ir_service_pb2.HealthResponse, _: ir_service_pb2.HealthRequest
) -> types.ServerHealth:
    return _decode.server_health(message)


def _serving(message: health_pb2.HealthCheckResponse, _: health_pb2.HealthCheckRequest) -> bool:
    return bool(message.status == health_pb2.HealthCheckResponse.SERVING)


CHECK_SCHEMA = UnaryMethod(
    f"{_SERVICE}/CheckSchema", ir_service_pb2.CheckSchemaResponse, _decode.schema_check
)
HEALTH = UnaryMethod(f"{_SERVICE}/Health", ir_service_pb2.HealthResponse, _server_health)
PROBE = UnaryMethod("/grpc.health.v1.Health/Check", health_pb2.HealthCheckResponse, _serving)
WARMUP = UnaryMethod(f"{_SERVICE}/Warmup", ir_service_pb2.WarmupResponse, _decode.warmup_result)
