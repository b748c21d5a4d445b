"""Whoever leaves takes the work along: nothing stays in the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir import DeadlineExceededError
from genir.types import TextDelta
from genir.v1 import ir_service_pb2
from tests.support.calls import spec, wait_until_idle

if TYPE_CHECKING:
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

ENDLESS: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 7000, "maxLength": 7500}},
    "required": ["text"],
    "additionalProperties": False,
}


def test_a_stream_that_is_left_stops_in_the_engine(client: IRClient) -> None:
    with client.stream("Write on and on.", schema=ENDLESS) as events:
        for event in events:
            if isinstance(event, TextDelta):
                break
        assert client.health().activity.calls_in_flight == 1
    wait_until_idle(client)


def test_a_unary_call_that_is_cancelled_stops_in_the_engine(
    client: IRClient, stub: ir_service_pb2_grpc.IRServiceStub
) -> None:
    request = ir_service_pb2.GenerateIRRequest(spec=spec("Write on and on.", schema=ENDLESS))
    call = stub.GenerateIR.future(request, timeout=60)
    while not client.health().activity.running:
        assert not call.done()
    call.cancel()
    wait_until_idle(client)


def test_a_deadline_stops_in_the_engine(client: IRClient) -> None:
    texts: list[str] = []
    with (
        pytest.raises(DeadlineExceededError) as raised,
        client.stream("Write on and on.", schema=ENDLESS, timeout=10) as events,
    ):
        texts.extend(event.text for event in events if isinstance(event, TextDelta))
    assert texts, "the deadline must hit while the engine writes"
    assert raised.value.request_id
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until_idle(client)
