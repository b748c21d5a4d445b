"""GenerateIR and StreamIR: from a prompt to an IR that is valid against its schema."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
import rfc8785
from jsonschema import Draft202012Validator

from bench.support.tiny_server import text_schema
from genir.schemas import builtin_ir_schema, builtin_ir_schema_text
from genir.types import (
    Accepted,
    AttemptStarted,
    Completed,
    FinishReason,
    SchemaShown,
    StreamEvent,
    TextDelta,
)
from tests.support.calls import SMALL_SCHEMA, generate

if TYPE_CHECKING:
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

PROMPT = "Describe a function that reads a CSV file and returns its rows as a list of dictionaries."


def _sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_generate_ir_with_the_builtin_schema(
    embedded_stub: ir_service_pb2_grpc.IRServiceStub,
) -> None:
    answer = generate(embedded_stub, PROMPT, temperature=0.0, request_id="simple-ir")
    ir = json.loads(answer.ir_json)
    Draft202012Validator(builtin_ir_schema()).validate(ir)
    assert len(ir["intent"]["summary"]) >= 10
    assert {"name", "parameters", "returns"} <= ir["signature"].keys()
    for parameter in ir["signature"]["parameters"]:
        assert parameter["name"]
        assert parameter["type_hint"]
    assert answer.ir_json.encode() == rfc8785.dumps(ir)

    assert answer.request_id == "simple-ir"
    assert answer.structured_output_backend == "guidance"
    assert answer.model == "smollm2-135m-instruct"
    assert answer.schema_digest == _sha256(builtin_ir_schema_text())
    assert answer.ir_digest == _sha256(answer.ir_json)
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 10
    assert [attempt.number for attempt in answer.attempts] == [*range(1, len(answer.attempts) + 1)]
    total = answer.timings.total.ToTimedelta()
    assert answer.timings.time_to_first_token.ToTimedelta() <= total


@pytest.mark.any_model
def test_stream_text_equals_the_completed_result(client: IRClient) -> None:
    events: list[StreamEvent[object]] = []
    with client.stream(PROMPT, schema=text_schema(100, 200), temperature=0.0) as stream:
        events.extend(stream)
    accepted, started, completed = events[0], events[1], events[-1]
    assert isinstance(accepted, Accepted)
    assert isinstance(started, AttemptStarted)
    assert isinstance(completed, Completed)
    last_start = max(i for i, event in enumerate(events) if isinstance(event, AttemptStarted))
    deltas = [event for event in events[last_start:] if isinstance(event, TextDelta)]
    assert len(deltas) > 10, "text must arrive while it is generated"
    assert json.loads("".join(delta.text for delta in deltas)) == json.loads(
        completed.result.ir_json
    )
    tokens = sum(delta.token_count for delta in deltas)
    assert tokens == completed.result.attempts[-1].usage.completion_tokens
    assert accepted.prompt_tokens == completed.result.attempts[0].usage.prompt_tokens


@pytest.mark.any_model
def test_schema_digest_replaces_the_schema(client: IRClient) -> None:
    by_text = client.generate("Name a thing.", schema=SMALL_SCHEMA, temperature=0)
    by_digest = client.generate("Name a thing.", schema_digest=by_text.schema_digest, temperature=0)
    assert by_digest.schema_digest == by_text.schema_digest
    assert by_digest.value.keys() == by_text.value.keys()


@pytest.mark.any_model
def test_response_reports_how_much_of_the_schema_the_prompt_shows(client: IRClient) -> None:
    shown = client.generate("Name a thing.", schema=SMALL_SCHEMA, temperature=0)
    hidden = client.generate(
        "Name a thing.", schema=SMALL_SCHEMA, temperature=0, schema_in_prompt="never"
    )
    assert shown.schema_shown is SchemaShown.FULL
    assert hidden.schema_shown is SchemaShown.NONE
    assert hidden.usage.prompt_tokens < shown.usage.prompt_tokens
    assert hidden.finish_reason is FinishReason.STOP


@pytest.mark.any_model
def test_conversation_and_raw_prompt_are_accepted(client: IRClient) -> None:
    conversation = [
        {"role": "system", "content": "You name things."},
        {"role": "user", "content": "Name a class."},
        {"role": "assistant", "content": '{"name":"Parser","kind":"class"}'},
        {"role": "user", "content": "Name a function."},
    ]
    answered = client.generate(conversation, schema=SMALL_SCHEMA)
    raw = client.generate("A name: ", schema=SMALL_SCHEMA, prompt_format="raw")
    for result in (answered, raw):
        Draft202012Validator(SMALL_SCHEMA).validate(result.value)
    assert raw.schema_shown is SchemaShown.NONE
