"""Numbers at the edge of what an answer can hold, with a real engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.calls import generate, refused

if TYPE_CHECKING:
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

    Stub = ir_service_pb2_grpc.IRServiceStub

pytestmark = pytest.mark.any_model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_integers_end_where_readers_round(stub: Stub, temperature: float) -> None:
    schema = {"type": "integer", "minimum": 9007199254740000}
    response = generate(stub, schema=schema, temperature=temperature)
    assert 9007199254740000 <= json.loads(response.ir_json) <= 2**53 - 1


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        ({"const": 1e21}, "1e+21"),
        ({"type": "integer", "enum": [1.5e300, 2**64 - 1]}, "1.5e+300"),
        ({"type": "integer", "minimum": 2**53 - 1}, "9007199254740991"),
    ],
)
def test_large_numbers_come_in_normal_form(
    stub: Stub, schema: dict[str, object], form: str
) -> None:
    assert generate(stub, schema=schema).ir_json == form


def test_stream_of_a_large_number_agrees_with_its_normal_form(client: IRClient) -> None:
    with client.stream("Name a number.", schema={"const": 1e21}) as events:
        assert events.result().value == 1e21


def test_constant_that_no_answer_can_hold_is_refused(stub: Stub) -> None:
    refusal = refused(stub, schema={"const": 2**64 - 1})
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "SCHEMA_UNSUPPORTED"
    assert refusal.metadata["pointer"] == "/const"
