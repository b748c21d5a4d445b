"""Reads the messages of one stream and collects the text written so far. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from genir import _decode
from genir.errors import ErrorDetails, ErrorReason, ModelRefusedError, ServerFaultError
from genir.types import AttemptStarted, Completed, TextDelta

if TYPE_CHECKING:
    from genir._schema import SchemaArgument
    from genir.types import IRResult, StreamEvent
    from genir.v1 import ir_service_pb2

T = TypeVar("T")


class StreamReader(Generic[T]):
    """The state of one stream.

    Attributes:
        started: whether an event has arrived. From then on `stream` does not retry.
        request_id: the request id; empty until it is known.

    """

    def __init__(self, schema: SchemaArgument[T], request_id: str) -> None:
        self.started = False
        self.request_id = request_id
        self._schema = schema
        self._texts: list[str] = []
        self._result: IRResult[T] | None = None

    @property
    def raw_output(self) -> str:
        """The text of the current attempt so far."""
        return "".join(self._texts)

    @property
    def result(self) -> IRResult[T]:
        """The result.

        Raises:
            RuntimeError: the stream was closed or failed before its result.

        """
        if self._result is None:
            msg = "the stream was closed or failed before its result"
            raise RuntimeError(msg)
        return self._result

    def restart(self) -> None:
        """Discards the previous try's text before a retry."""
        self._texts.clear()

    def end(self) -> None:
        """Checks that a stream that the server ended with OK had a result.

        Raises:
            ServerFaultError: it had none.

        """
        if self._result is None:
            raise self._fault("the stream ended without a result")

    def event(self, message: ir_service_pb2.StreamIRResponse) -> StreamEvent[T] | None:
        """The event of a message, or None for a kind of event that only newer servers send.

        Raises:
            ModelRefusedError: the model class rejects the IR.
            ServerFaultError: the IR is not JSON.

        """
        self.started = True
        match message.WhichOneof("event"):
            case "accepted":
                self.request_id = message.accepted.request_id
                return _decode.accepted(message.accepted)
            case "attempt_started":
                self._texts.clear()
                started = message.attempt_started
                return AttemptStarted(started.number, _decode.attempt_reason(started.reason))
            case "text_delta":
                self._texts.append(message.text_delta.text)
                return TextDelta(message.text_delta.text, message.text_delta.token_count)
            case "completed":
                value = self._read(message.completed.ir_json)
                self._result = _decode.ir_result(message.completed, value)
                return Completed(self._result)
            case _:
                return None

    def _read(self, ir_json: str) -> T:
        try:
            return self._schema.read(ir_json)
        except ModelRefusedError as error:
            details = replace(error.details, request_id=self.request_id)
            raise ModelRefusedError(details) from error.__cause__
        except ValueError as error:
            raise self._fault(f"the server's ir_json is not JSON: {error}") from error

    def _fault(self, message: str) -> ServerFaultError:
        return ServerFaultError(
            ErrorDetails(
                reason=ErrorReason.INVALID_RESPONSE,
                message=message,
                request_id=self.request_id,
                raw_output=self.raw_output,
            )
        )
