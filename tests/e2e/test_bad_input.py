"""Bad input: the exact code, reason and field, and the server answers the next good call."""

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

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(autouse=True)
def good_call_afterwards(stub: Stub, client: IRClient) -> Iterator[None]:
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
    assert refusal.details_bytes < 6 * 1024


@pytest.mark.parametrize("prompt", ["", "   \n"])
def test_an_empty_prompt(stub: Stub, prompt: str) -> None:
    assert_refused(refused(stub, prompt), "INVALID_FIELD", "spec.prompt")


def test_no_spec_at_all(stub: Stub) -> None:
    assert_refused(refusal_of(ir_service_pb2.GenerateIRRequest(), stub), "INVALID_FIELD", "spec")


def test_an_empty_conversation(stub: Stub) -> None:
    request = ir_service_pb2.GenerateIRRequest(
        spec=generation_pb2.GenerationSpec(conversation=generation_pb2.Conversation())
    )
    assert_refused(refusal_of(request, stub), "INVALID_FIELD", "spec.conversation.messages")


def test_an_unknown_enum_value(stub: Stub) -> None:
    assert_refused(refused(stub, schema_in_prompt=77), "INVALID_FIELD", "spec.schema_in_prompt")


@pytest.mark.parametrize(
    "text",
    ['{"type": "object",', "not json", '{"type": 12}', '{"type": "foo"}', "[]", '{"a":1,"a":2}'],
)
def test_a_malformed_schema(stub: Stub, text: str) -> None:
    assert_refused(refused(stub, schema=text), "SCHEMA_INVALID", "spec.json_schema")


def test_a_malformed_schema_names_line_and_column(stub: Stub) -> None:
    refusal = refused(stub, schema='{\n  "type": "object",\n  oops\n}')
    assert "line 3" in refusal.message
    assert "column 3" in refusal.message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        False,
    ],
)
def test_an_unsatisfiable_schema(stub: Stub, schema: object) -> None:
    assert_refused(refused(stub, schema=json.dumps(schema)), "SCHEMA_INVALID", "spec.json_schema")


def test_a_remote_reference(stub: Stub) -> None:
    refusal = refused(
        stub, schema={"properties": {"x": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    )
    assert_refused(refusal, "SCHEMA_UNSUPPORTED", "spec.json_schema")
    assert "/properties/x/$ref" in refusal.message


@pytest.mark.parametrize(
    "schema",
    [{"multipleOf": 9999991}, {"type": "string", "pattern": "^a{100000}$"}],
    ids=["multipleOf", "pattern"],
)
def test_a_dangerous_schema(stub: Stub, schema: dict[str, Any]) -> None:
    assert_refused(refused(stub, schema=schema), "SCHEMA_TOO_COMPLEX", "spec.json_schema")


def test_a_chain_of_references_that_crashes_a_careless_reader(stub: Stub) -> None:
    links = 1200
    definitions: dict[str, Any] = {
        f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(links)
    }
    definitions[f"d{links}"] = {"type": "null"}
    schema = {"$ref": "#/$defs/d0", "$defs": definitions}
    assert_refused(refused(stub, schema=schema), "SCHEMA_TOO_COMPLEX", "spec.json_schema")


def test_a_budget_in_which_nothing_fits(stub: Stub) -> None:
    names = [f"a_rather_long_property_name_{i}" for i in range(12)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    refusal = refused(stub, schema=schema, max_tokens=8)
    assert_refused(refusal, "BUDGET_TOO_SMALL", "spec.max_tokens")
    smallest = int(refusal.metadata["min_tokens"])
    assert smallest > 8
    answer = generate(stub, schema=schema, max_tokens=200)
    assert answer.usage.completion_tokens >= smallest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.5),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("min_p", 1.5),
        ("top_k", -1),
        ("seed", -1),
        ("frequency_penalty", 3.0),
        ("presence_penalty", -2.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e-46),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("priority", 5000),
        ("max_attempts", 0),
        ("max_attempts", 99),
        ("request_id", "no spaces allowed"),
        ("schema_digest", "md5:nope"),
    ],
)
def test_a_value_out_of_range(stub: Stub, field: str, value: object) -> None:
    assert_refused(refused(stub, **{field: value}), "INVALID_FIELD", f"spec.{field}")


def test_everything_wrong_is_said_at_once(stub: Stub) -> None:
    refusal = refused(stub, "", temperature=9.0, top_p=0.0)
    assert set(refusal.fields) == {"spec.prompt", "spec.temperature", "spec.top_p"}


def test_an_unknown_model_names_those_served(stub: Stub) -> None:
    refusal = refused(stub, model="gpt-17")
    assert_refused(refusal, "MODEL_NOT_FOUND", "spec.model", NOT_FOUND)
    assert "smollm2-135m-instruct" in refusal.message


def test_an_unknown_adapter_and_an_unknown_digest(stub: Stub) -> None:
    adapter = refused(stub, lora_adapter="none-such")
    assert_refused(adapter, "LORA_ADAPTER_NOT_FOUND", "spec.lora_adapter", NOT_FOUND)
    digest = refused(stub, schema_digest="sha256:" + "0" * 64)
    assert_refused(digest, "SCHEMA_NOT_FOUND", "spec.schema_digest", NOT_FOUND)


def test_a_prompt_beyond_the_context_tells_both_numbers(stub: Stub) -> None:
    refusal = refused(stub, "word " * 6000, schema=SMALL_SCHEMA, max_tokens=100)
    assert_refused(refusal, "PROMPT_TOO_LONG", "spec.prompt")
    assert int(refusal.metadata["prompt_tokens"]) > 4096
    assert refusal.metadata["max_model_len"] == "4096"
    assert refusal.metadata["prompt_tokens"] in refusal.message


def test_a_prompt_beyond_the_limit_in_bytes(stub: Stub) -> None:
    refusal = refused(stub, "x" * (2 << 20))
    assert_refused(refusal, "PROMPT_TOO_LONG", "spec.prompt")


def test_undecodable_bytes(channel: grpc.Channel) -> None:
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
