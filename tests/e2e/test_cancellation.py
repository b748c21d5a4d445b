"""Cancellation and deadlines stop the work in the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bench.support.tiny_server import ENDLESS
from genir import DeadlineExceededError
from genir.types import TextDelta
from genir.v1 import ir_service_pb2
from tests.support.calls import spec, wait_until_idle

if TYPE_CHECKING:
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

pytestmark = pytest.mark.any_model

ENDLESS_ARRAY: dict[str, Any] = {"type": "array", "items": ENDLESS, "minItems": 20, "maxItems": 20}
"""More than the context can hold: generating it takes until the budget is used up."""
BUDGET = 3900
DEADLINE_SECONDS = 3.0


def test_closing_a_stream_stops_the_engine_request(client: IRClient) -> None:
    with client.stream("Write on and on.", schema=ENDLESS_ARRAY, max_tokens=BUDGET) as events:
        for event in events:
            if isinstance(event, TextDelta):
                break
        assert client.health().activity.calls_in_flight == 1
    wait_until_idle(client)


def test_cancelling_a_unary_call_stops_the_engine_request(
    client: IRClient, stub: ir_service_pb2_grpc.IRServiceStub
) -> None:
    request = ir_service_pb2.GenerateIRRequest(
        spec=spec("Write on and on.", schema=ENDLESS_ARRAY, max_tokens=BUDGET)
    )
    call = stub.GenerateIR.future(request, timeout=60)
    while not client.health().activity.running:
        assert not call.done()
    call.cancel()
    wait_until_idle(client)


def test_deadline_stops_the_engine_request(client: IRClient) -> None:
    texts: list[str] = []
    with (
        pytest.raises(DeadlineExceededError) as raised,
        client.stream(
            "Write on and on.",
            schema=ENDLESS_ARRAY,
            max_tokens=BUDGET,
            timeout=DEADLINE_SECONDS,
        ) as events,
    ):
        texts.extend(event.text for event in events if isinstance(event, TextDelta))
    assert texts, "the deadline must pass while the engine generates"
    assert raised.value.request_id
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until_idle(client)
