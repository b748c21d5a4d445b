"""Every refusal of bad input has its code, reason and field, and the server stays healthy.

One case for each reason. The unit tests of validation and of schemas have the variants.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir.v1 import generation_pb2, ir_service_pb2
from tests.support.calls import (
    SMALL_SCHEMA,
    Refusal,
    generate,
    refusal_from,
    refusal_of,
    refused,
    wait_until_idle,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

    Stub = ir_service_pb2_grpc.IRServiceStub

pytestmark = pytest.mark.any_model

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
MAX_DETAILS_BYTES = 6 * 1024

SAMPLING_OUT_OF_RANGE: dict[str, Any] = {
    "temperature": float("nan"),
    "top_p": 0.0,
    "min_p": 1.5,
    "top_k": -1,
    "seed": -1,
    "frequency_penalty": 3.0,
    "presence_penalty": -2.5,
    "repetition_penalty": 1e-46,
}
OTHERS_OUT_OF_RANGE: dict[str, Any] = {
    "prompt": "",
    "max_tokens": 0,
    "priority": 5000,
    "max_attempts": 99,
    "schema_digest": "md5:nope",
}


@pytest.fixture(autouse=True)
def next_call_succeeds(stub: Stub, client: IRClient) -> Iterator[None]:
    yield
    wait_until_idle(client)
    assert json.loads(generate(stub, schema=SMALL_SCHEMA).ir_json)["name"]


def assert_refused(
    refusal: Refusal, reason: str, field: str, code: grpc.StatusCode = INVALID
) -> None:
    assert (refusal.code, refusal.reason) == (code, reason)
    assert field in refusal.fields
    assert refusal.message
    assert refusal.request_id
    assert refusal.details_bytes < MAX_DETAILS_BYTES


def test_missing_spec(stub: Stub) -> None:
    assert_refused(refusal_of(ir_service_pb2.GenerateIRRequest(), stub), "INVALID_FIELD", "spec")


def test_empty_conversation(stub: Stub) -> None:
    request = ir_service_pb2.GenerateIRRequest(
        spec=generation_pb2.GenerationSpec(conversation=generation_pb2.Conversation())
    )
    assert_refused(refusal_of(request, stub), "INVALID_FIELD", "spec.conversation.messages")


def test_unknown_enum_value(stub: Stub) -> None:
    assert_refused(refused(stub, schema_in_prompt=77), "INVALID_FIELD", "spec.schema_in_prompt")


def test_malformed_request_id(stub: Stub) -> None:
    refusal = refused(stub, request_id="no spaces allowed")
    assert_refused(refusal, "INVALID_FIELD", "spec.request_id")


@pytest.mark.parametrize(
    "values", [SAMPLING_OUT_OF_RANGE, OTHERS_OUT_OF_RANGE], ids=["sampling", "others"]
)
def test_every_value_out_of_range_is_reported_at_once(stub: Stub, values: dict[str, Any]) -> None:
    refusal = refused(stub, **values)
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert set(refusal.fields) == {f"spec.{name}" for name in values}
    assert refusal.details_bytes < MAX_DETAILS_BYTES


def test_malformed_schema_names_line_and_column(stub: Stub) -> None:
    refusal = refused(stub, schema='{\n  "type": "object",\n  oops\n}')
    assert_refused(refusal, "SCHEMA_INVALID", "spec.json_schema")
    assert "line 3" in refusal.message
    assert "column 3" in refusal.message


def test_unsatisfiable_schema(stub: Stub) -> None:
    schema = {"type": "object", "properties": {"a": False}, "required": ["a"]}
    assert_refused(refused(stub, schema=schema), "SCHEMA_INVALID", "spec.json_schema")


def test_remote_reference(stub: Stub) -> None:
    refusal = refused(
        stub, schema={"properties": {"x": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    )
    assert_refused(refusal, "SCHEMA_UNSUPPORTED", "spec.json_schema")
    assert "/properties/x/$ref" in refusal.message


def test_schema_beyond_a_limit(stub: Stub) -> None:
    assert_refused(
        refused(stub, schema={"multipleOf": 9999991}), "SCHEMA_TOO_COMPLEX", "spec.json_schema"
    )


def test_long_reference_chain(stub: Stub) -> None:
    """A recursive reader would overflow its stack."""
    links = 1200
    definitions: dict[str, Any] = {
        f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(links)
    }
    definitions[f"d{links}"] = {"type": "null"}
    schema = {"$ref": "#/$defs/d0", "$defs": definitions}
    assert_refused(refused(stub, schema=schema), "SCHEMA_TOO_COMPLEX", "spec.json_schema")


def test_budget_below_the_schemas_minimum(stub: Stub) -> None:
    names = [f"a_rather_long_property_name_{i}" for i in range(12)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    refusal = refused(stub, schema=schema, max_tokens=8)
    assert_refused(refusal, "BUDGET_TOO_SMALL", "spec.max_tokens")
    min_tokens = int(refusal.metadata["min_tokens"])
    assert min_tokens > 8
    answer = generate(stub, schema=schema, max_tokens=200)
    assert answer.usage.completion_tokens >= min_tokens


def test_unknown_model_is_refused_with_the_served_names(stub: Stub, client: IRClient) -> None:
    refusal = refused(stub, model="gpt-17")
    assert_refused(refusal, "MODEL_NOT_FOUND", "spec.model", NOT_FOUND)
    assert f"served: {client.health().model}" in refusal.message


def test_unknown_adapter(stub: Stub) -> None:
    refusal = refused(stub, lora_adapter="none-such")
    assert_refused(refusal, "LORA_ADAPTER_NOT_FOUND", "spec.lora_adapter", NOT_FOUND)


def test_unknown_schema_digest(stub: Stub) -> None:
    refusal = refused(stub, schema_digest="sha256:" + "0" * 64)
    assert_refused(refusal, "SCHEMA_NOT_FOUND", "spec.schema_digest", NOT_FOUND)


def test_prompt_longer_than_the_context_reports_both_sizes(stub: Stub, client: IRClient) -> None:
    context = client.health().max_model_len
    refusal = refused(stub, "word " * (context + 100), schema=SMALL_SCHEMA, max_tokens=100)
    assert_refused(refusal, "PROMPT_TOO_LONG", "spec.prompt")
    assert int(refusal.metadata["prompt_tokens"]) > context
    assert refusal.metadata["max_model_len"] == str(context)
    assert refusal.metadata["prompt_tokens"] in refusal.message


def test_prompt_over_the_byte_limit(stub: Stub) -> None:
    refusal = refused(stub, "x" * (2 << 20))
    assert_refused(refusal, "PROMPT_TOO_LONG", "spec.prompt")


def test_undecodable_message(channel: grpc.Channel) -> None:
    for method in ("GenerateIR", "Health", "Warmup"):
        raw_call: Any = channel.unary_unary(f"/genir.v1.IRService/{method}")
        with pytest.raises(grpc.RpcError) as error:
            raw_call(b"\xff\xff\xff\xff\xff", timeout=10)
        refusal = refusal_from(error.value)
        assert (refusal.code, refusal.reason) == (INVALID, "MESSAGE_UNDECODABLE")
    raw_stream: Any = channel.unary_stream("/genir.v1.IRService/StreamIR")
    with pytest.raises(grpc.RpcError) as error:
        list(raw_stream(b"\x0a\x05ab", timeout=10))
    refusal = refusal_from(error.value)
    assert (refusal.code, refusal.reason) == (INVALID, "MESSAGE_UNDECODABLE")
