"""What the client checks in a response, because a broken or hostile server may send anything. Pure.

An unknown value of an enumeration, an unknown kind of event and an unknown field are no faults:
newer servers send them.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError

from genir import _strict_json
from genir.errors import ErrorDetails, ErrorReason, InvalidResponseError

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message

    from genir.v1 import generation_pb2, ir_service_pb2

    MessageT = TypeVar("MessageT", bound=Message)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_SECONDS = 315_576_000_000  # What google.protobuf.Duration allows: 10,000 years.
_MAX_NANOS = 999_999_999
_MAX_QUOTED = 80


class BrokenContractError(ValueError):
    """A message breaks the contract. The callers of this package get `InvalidResponseError`."""


def invalid_response(
    broken: BrokenContractError, *, request_id: str = "", raw_output: str = ""
) -> InvalidResponseError:
    """The exception for a caller of this package."""
    return InvalidResponseError(
        ErrorDetails(
            reason=ErrorReason.INVALID_RESPONSE,
            message=f"the response breaks the contract: {broken}",
            request_id=request_id,
            raw_output=raw_output,
        )
    )


def decoded(kind: type[MessageT], data: bytes | None) -> MessageT:
    """A message from its bytes; None for a call that ended with OK without a message.

    Raises:
        BrokenContractError: there are none, or they are not such a message.

    """
    name = kind.DESCRIPTOR.name
    if data is None:
        msg = f"the call ended with OK but without {name}"
        raise BrokenContractError(msg)
    try:
        return kind.FromString(data)
    except DecodeError:
        msg = f"the bytes do not decode to {name}"
        raise BrokenContractError(msg) from None


def count(message: Message, field: str) -> int:
    """A number that the contract documents as 0 or more.

    Raises:
        BrokenContractError: it is negative.

    """
    number: int = getattr(message, field)
    if number < 0:
        msg = f"{_name(message, field)} is {number}, below 0"
        raise BrokenContractError(msg)
    return number


def counts_by_key(message: Message, field: str) -> dict[str, int]:
    """A map to numbers that the contract documents as 0 or more.

    Raises:
        BrokenContractError: one is negative.

    """
    numbers: dict[str, int] = dict(getattr(message, field))
    if any(number < 0 for number in numbers.values()):
        msg = f"{_name(message, field)} has a number below 0"
        raise BrokenContractError(msg)
    return numbers


def finite(message: Message, field: str) -> float:
    """A number that is neither NaN nor infinite.

    Raises:
        BrokenContractError: it is.

    """
    number: float = getattr(message, field)
    if not math.isfinite(number):
        msg = f"{_name(message, field)} is {number}"
        raise BrokenContractError(msg)
    return number


def duration(message: Message, field: str) -> timedelta:
    """A duration of 0 or more; 0 when it is unset.

    Raises:
        BrokenContractError: it is negative, or longer than protobuf allows.

    """
    value: Duration = getattr(message, field)
    if not (0 <= value.seconds <= _MAX_SECONDS and 0 <= value.nanos <= _MAX_NANOS):
        msg = f"{_name(message, field)} is {value.seconds} s and {value.nanos} ns"
        raise BrokenContractError(msg)
    return value.ToTimedelta()


def moment(message: Message, field: str) -> datetime:
    """A point in time.

    Raises:
        BrokenContractError: it is not between the years 1 and 9999.

    """
    try:
        time: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        msg = f"{_name(message, field)} is not a time between the years 1 and 9999"
        raise BrokenContractError(msg) from None
    return time


def ir_json(message: Message) -> object:
    """The value of the message's ``ir_json``.

    Raises:
        BrokenContractError: it is not in normal form, or not JSON of which every reader makes the
            same value.

    """
    try:
        return _strict_json.read_normal_form(getattr(message, "ir_json", ""))
    except ValueError as error:
        msg = f"{_name(message, 'ir_json')} {error}"
        raise BrokenContractError(msg) from None


def streamed_value(text: str) -> object:
    """The value of the text that an attempt streamed, which need not be in normal form.

    Raises:
        BrokenContractError: it is not JSON of which every reader makes the same value.

    """
    try:
        return _strict_json.read(text)
    except ValueError as error:
        msg = f"the streamed text {error}"
        raise BrokenContractError(msg) from None


def digest(message: Message, field: str, expected: str = "") -> str:
    """A digest, ``sha256:<hex>``.

    Args:
        message: the message that holds it.
        field: the field that holds it.
        expected: what it must be; empty when the client cannot know.

    Raises:
        BrokenContractError: it is not a digest, or another one.

    """
    stated: str = getattr(message, field)
    if not _DIGEST.fullmatch(stated):
        msg = f"{_name(message, field)} is not a digest: {quoted(stated)}"
        raise BrokenContractError(msg)
    if expected and stated != expected:
        msg = f"{_name(message, field)} is {stated}, but must be {expected}"
        raise BrokenContractError(msg)
    return stated


def digest_of(text: str) -> str:
    """The digest of the UTF-8 bytes of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest_of_schema(
    request: generation_pb2.GenerationSpec | ir_service_pb2.CheckSchemaRequest,
) -> str:
    """The digest of the schema that a request sends; empty for the server's built-in schema."""
    if request.WhichOneof("schema") == "json_schema":
        return digest_of(request.json_schema)
    return request.schema_digest


def quoted(text: str) -> str:
    """A text from the server in an error message, cut to a length that people can read."""
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…")


def _name(message: Message, field: str) -> str:
    return f"{message.DESCRIPTOR.name}.{field}"
