"""Reads the messages of one stream and collects the text written so far. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from genir import _contract, _decode, _strict_json
from genir._contract import BrokenContractError, invalid_response
from genir.errors import ModelRefusedError
from genir.types import Completed
from genir.v1 import ir_service_pb2

if TYPE_CHECKING:
    from genir._schema import SchemaArgument
    from genir.errors import InvalidResponseError
    from genir.types import Accepted, AttemptStarted, IRResult, Rewound, StreamEvent, TextDelta
    from genir.v1 import generation_pb2

T = TypeVar("T")

_MAX_TEXT = 64 * 1024 * 1024
"""Maximum characters of one attempt: as many as a message with its IR may have bytes."""


class StreamReader(Generic[T]):
    """The state of one stream.

    Args:
        schema: makes the value of the IR.
        request_id: the request id that the caller chose; empty for none.
        schema_digest: the digest of the schema in the request; empty for the built-in schema.

    Attributes:
        started: whether an event has arrived. From then on `stream` does not retry.
        request_id: the request id; empty until it is known.

    """

    def __init__(self, schema: SchemaArgument[T], request_id: str, schema_digest: str) -> None:
        self.started = False
        self.request_id = request_id
        self._requested_id = request_id
        self._schema = schema
        self._schema_digest = schema_digest
        self.restart()

    @property
    def raw_output(self) -> str:
        """The text of the current attempt so far."""
        return self._text.decode()

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
        """Discards what the previous try received before a retry."""
        self._accepted: Accepted | None = None
        self._attempts = 0
        # In UTF-8. A list of texts would keep an object for each, however short or empty.
        self._text = bytearray()
        self._text_size = 0
        self._result: IRResult[T] | None = None

    def end(self) -> None:
        """Checks that a stream that the server ended with OK had a result.

        Raises:
            InvalidResponseError: it had none.

        """
        if self._result is None:
            raise self._fault(BrokenContractError("the stream ended without a result"))

    def event(self, data: bytes) -> StreamEvent[T] | None:
        """The event of a message, or None for a kind of event that only newer servers send.

        Raises:
            ModelRefusedError: the model class rejects the IR.
            InvalidResponseError: the message or the order of the events breaks the contract.

        """
        self.started = True
        try:
            return self._event(_contract.decoded(ir_service_pb2.StreamIRResponse, data))
        except BrokenContractError as broken:
            raise self._fault(broken) from broken

    def _event(self, message: ir_service_pb2.StreamIRResponse) -> StreamEvent[T] | None:
        kind = message.WhichOneof("event")
        if kind is None:
            return None
        self._check_order(kind)
        match kind:
            case "accepted":
                return self._accept(message.accepted)
            case "attempt_started":
                return self._start_attempt(message.attempt_started)
            case "text_delta":
                return self._add(message.text_delta)
            case "rewound":
                return self._rewind(message.rewound)
            case "completed":
                return self._complete(message.completed)

    def _check_order(self, kind: str) -> None:
        if self._result is not None:
            msg = f"the event {kind} follows completed, which must be the last"
        elif self._accepted is None and kind != "accepted":
            msg = f"the first event is {kind}, but must be accepted"
        elif self._accepted is not None and kind == "accepted":
            msg = "the event accepted was sent twice"
        elif self._attempts == 0 and kind in ("text_delta", "rewound", "completed"):
            msg = f"the event {kind} comes before any attempt_started"
        else:
            return
        raise BrokenContractError(msg)

    def _accept(self, message: generation_pb2.Accepted) -> Accepted:
        accepted = _decode.accepted(message, self._schema_digest)
        if self._requested_id and accepted.request_id != self._requested_id:
            msg = f"the request id is {_contract.quoted(accepted.request_id)}, not the caller's"
            raise BrokenContractError(msg)
        self._accepted = accepted
        self.request_id = accepted.request_id
        return accepted

    def _start_attempt(self, message: generation_pb2.AttemptStarted) -> AttemptStarted:
        started = _decode.attempt_started(message)
        if started.number != self._attempts + 1:
            msg = f"attempt {started.number} follows attempt {self._attempts}"
            raise BrokenContractError(msg)
        self._attempts = started.number
        self._text.clear()
        self._text_size = 0
        return started

    def _add(self, message: generation_pb2.TextDelta) -> TextDelta:
        delta = _decode.text_delta(message)
        self._text_size += len(delta.text)
        if self._text_size > _MAX_TEXT:
            msg = f"the text of an attempt is longer than {_MAX_TEXT} characters"
            raise BrokenContractError(msg)
        self._text += delta.text.encode()
        return delta

    def _rewind(self, message: generation_pb2.Rewound) -> Rewound:
        rewound = _decode.rewound(message)
        if rewound.to_bytes > len(self._text):
            msg = f"the attempt is to keep {rewound.to_bytes} of {len(self._text)} bytes"
            raise BrokenContractError(msg)
        removed = self._text[rewound.to_bytes :]
        try:
            self._text_size -= len(removed.decode())
        except UnicodeDecodeError:
            msg = f"byte {rewound.to_bytes} of the attempt is inside a character"
            raise BrokenContractError(msg) from None
        del self._text[rewound.to_bytes :]
        return rewound

    def _complete(self, message: ir_service_pb2.GenerateIRResponse) -> Completed[T]:
        value = _contract.ir_json(message)
        self._check_result(message)
        if not _strict_json.same(value, _contract.streamed_value(self.raw_output)):
            msg = "the streamed text and ir_json are different values"
            raise BrokenContractError(msg)
        result = _decode.ir_result(message, self._read(value, message.ir_json))
        self._result = result
        return Completed(result)

    def _check_result(self, message: ir_service_pb2.GenerateIRResponse) -> None:
        _contract.digest(message, "ir_digest", _contract.digest_of(message.ir_json))
        if self._accepted is not None:
            _contract.digest(message, "schema_digest", self._accepted.schema_digest)
        if message.request_id != self.request_id:
            msg = f"the result is that of request {_contract.quoted(message.request_id)}"
            raise BrokenContractError(msg)
        if len(message.attempts) != self._attempts:
            msg = f"the result has {len(message.attempts)} attempts, the stream {self._attempts}"
            raise BrokenContractError(msg)

    def _read(self, value: object, ir_json: str) -> T:
        try:
            return self._schema.read(value, ir_json)
        except ModelRefusedError as error:
            details = replace(error.details, request_id=self.request_id)
            raise ModelRefusedError(details) from error.__cause__

    def _fault(self, broken: BrokenContractError) -> InvalidResponseError:
        self._result = None
        return invalid_response(broken, request_id=self.request_id, raw_output=self.raw_output)
