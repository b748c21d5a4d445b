"""Messages of very many fields are refused before protobuf makes an object for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.transport.message_fields import MAX_FIELDS
from genir_server.transport.messages import decode_message

if TYPE_CHECKING:
    from google.protobuf.message import Message

GENERATE = ir_service_pb2.GenerateIRRequest
WARMUP = ir_service_pb2.WarmupRequest
MANY = 1 << 19


def varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


MESSAGES = field(1, b"") * MANY
CONVERSATION = field(1, field(2, MESSAGES))


class ParsedError(AssertionError):
    pass


class Unparsed:
    """A message type that must not be parsed."""

    def __init__(self, kind: type[Message]) -> None:
        self.DESCRIPTOR = kind.DESCRIPTOR

    def decode(self, raw: bytes) -> Message:
        raise ParsedError(len(raw))


@pytest.mark.parametrize(
    ("kind", "raw", "name"),
    [
        (WARMUP, field(2, b"") * MANY, "json_schemas"),
        (GENERATE, CONVERSATION, "spec.conversation.messages"),
        (ir_service_pb2.StreamIRRequest, CONVERSATION, "spec.conversation.messages"),
        (GENERATE, field(1, b"") * MANY, "spec"),
        (GENERATE, field(1, field(2, field(1, b"\x08\x01" * MANY))), None),
        # Cut short, so that protobuf would refuse it after parsing what there is.
        (GENERATE, CONVERSATION[:-1], "spec.conversation.messages"),
        (GENERATE, field(1, b"\xff") + CONVERSATION, "spec.conversation.messages"),
        # Unknown fields of every kind.
        (ir_service_pb2.HealthRequest, b"\x78\x01" * MANY, "HealthRequest"),
        (ir_service_pb2.HealthRequest, field(15, b"") * MANY, "HealthRequest"),
        (ir_service_pb2.HealthRequest, b"\x7d\0\0\0\0" * MANY, "HealthRequest"),
        (ir_service_pb2.HealthRequest, b"\x7b\x7c" * MANY, "HealthRequest"),
        (ir_service_pb2.CheckSchemaRequest, field(1, b"a") * MANY, "json_schema"),
    ],
)
def test_too_many_fields_are_refused_unparsed(
    kind: type[Message], raw: bytes, name: str | None
) -> None:
    with pytest.raises(GenirError) as refused:
        decode_message(raw, Unparsed(kind).decode, "a request")
    assert refused.value.reason is Reason.INVALID_FIELD
    assert str(MAX_FIELDS) in refused.value.message
    if name is not None:
        assert refused.value.fields[0].field == name


def test_large_requests_within_the_limits_are_read() -> None:
    limits = RequestLimits()
    text = "é" * 4_096
    turn = generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)
    conversation = generation_pb2.Conversation(messages=[turn] * limits.max_messages)
    spec = generation_pb2.GenerationSpec(
        conversation=conversation, json_schema=text, temperature=0.5, seed=-1, max_tokens=9
    )
    request = GENERATE(spec=spec)
    assert decode_message(request.SerializeToString(), GENERATE.FromString, "a") == request
    warmup = WARMUP(json_schemas=[text] * limits.max_warmup_schemas, force=True)
    assert decode_message(warmup.SerializeToString(), WARMUP.FromString, "a") == warmup


@pytest.mark.parametrize(
    "raw", [b"\xff" * 3_000, b"\x0a" * 3_001, b"\x0f" * 3_000, b"\x80" * 3_000]
)
def test_malformed_messages_are_left_to_protobuf(raw: bytes) -> None:
    with pytest.raises(GenirError) as refused:
        decode_message(raw, GENERATE.FromString, "a request")
    assert refused.value.reason in (Reason.MESSAGE_UNDECODABLE, Reason.INVALID_FIELD)
