from __future__ import annotations

from typing import Any

import pytest

from genir.v1 import generation_pb2 as generation
from genir_server.core.errors import GenirError, Reason
from genir_server.core.limits import DEFAULT_MAX_ATTEMPTS
from genir_server.core.types import (
    GenerationRequest,
    Message,
    PromptFormat,
    Role,
    Sampling,
    SchemaInPrompt,
)
from genir_server.transport.convert import duration, request_from_spec


def test_an_empty_spec_gets_every_default() -> None:
    assert request_from_spec(generation.GenerationSpec(), "r") == GenerationRequest("r")
    assert GenerationRequest("r").max_attempts == DEFAULT_MAX_ATTEMPTS
    assert Sampling() == Sampling(temperature=0.3, top_p=0.95, top_k=0)


def test_zero_is_a_value() -> None:
    spec = generation.GenerationSpec(
        prompt="", temperature=0.0, min_p=0.0, seed=0, max_tokens=0, max_attempts=0, system=""
    )
    request = request_from_spec(spec, "r")
    assert request.prompt == ""
    assert request.sampling.temperature == 0
    assert request.sampling.seed == 0
    assert request.max_tokens == 0
    assert request.max_attempts == 0
    assert request.system == ""


def test_everything_set_arrives() -> None:
    spec = generation.GenerationSpec(
        conversation=generation.Conversation(
            messages=[generation.Message(role=generation.ROLE_USER, content="hi")]
        ),
        model="m",
        schema_digest="sha256:x",
        schema_in_prompt=generation.SCHEMA_IN_PROMPT_NEVER,
        temperature=1.5,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        seed=2**40,
        frequency_penalty=-1,
        presence_penalty=1,
        repetition_penalty=1.25,
        max_tokens=9,
        priority=-3,
        max_attempts=4,
        lora_adapter="poet",
        prompt_format=generation.PROMPT_FORMAT_RAW,
    )
    assert request_from_spec(spec, "r") == GenerationRequest(
        "r",
        conversation=(Message(Role.USER, "hi"),),
        model="m",
        schema_digest="sha256:x",
        schema_in_prompt=SchemaInPrompt.NEVER,
        sampling=Sampling(1.5, 0.5, 7, 0.1, 2**40, -1, 1, 1.25),
        max_tokens=9,
        priority=-3,
        max_attempts=4,
        lora_adapter="poet",
        prompt_format=PromptFormat.RAW,
    )


@pytest.mark.parametrize("field", ["schema_in_prompt", "prompt_format"])
def test_an_enum_value_from_the_future_is_refused(field: str) -> None:
    values: dict[str, Any] = {field: 99}
    spec = generation.GenerationSpec(**values)
    with pytest.raises(GenirError) as raised:
        request_from_spec(spec, "r")
    assert raised.value.reason is Reason.INVALID_FIELD
    assert raised.value.fields[0].field == f"spec.{field}"


def test_a_role_must_be_given() -> None:
    spec = generation.GenerationSpec(
        conversation=generation.Conversation(messages=[generation.Message(content="hi")])
    )
    with pytest.raises(GenirError) as raised:
        request_from_spec(spec, "r")
    assert raised.value.fields[0].field == "spec.conversation.messages[0].role"


@pytest.mark.parametrize(("seconds", "nanos"), [(1.5, 1_500_000_000), (0, 0), (-1, 0)])
def test_durations(seconds: float, nanos: int) -> None:
    assert duration(seconds).ToNanoseconds() == nanos
