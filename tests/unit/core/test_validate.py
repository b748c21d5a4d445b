"""What validation refuses, and what it says about it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from genir_server.core.validate import (
    check_message_count,
    check_schema_count,
    is_request_id,
    validate_request,
)
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.domain.types import GenerationRequest, Message, Role, Sampling
from genir_server.engine.protocol import EngineInfo

ENGINE = EngineInfo("model", ("poet",), 1000, "guidance")


def refusal(
    *, limits: RequestLimits | None = None, engine: EngineInfo = ENGINE, **changes: Any
) -> GenirError:
    request = GenerationRequest(**{"request_id": "r-1", "prompt": "hi", **changes})
    with pytest.raises(GenirError) as raised:
        validate_request(request, limits or RequestLimits(), engine)
    return raised.value


def test_default_request_is_valid() -> None:
    validate_request(GenerationRequest("r", prompt="hi"), RequestLimits(), ENGINE)


def test_every_field_at_fault_is_reported() -> None:
    error = refusal(prompt=" ", sampling=Sampling(temperature=3, top_k=-1), max_tokens=0)
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.fields] == [
        "spec.prompt",
        "spec.temperature",
        "spec.top_k",
        "spec.max_tokens",
    ]
    assert error.message == "spec.prompt must not be empty (and 3 more)"


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(temperature=-0.1), "spec.temperature must be between 0 and 2, not -0.1"),
        (Sampling(temperature=2.5), "spec.temperature must be between 0 and 2, not 2.5"),
        (Sampling(temperature=math.nan), "spec.temperature must be between 0 and 2, not nan"),
        (Sampling(temperature=math.inf), "spec.temperature must be between 0 and 2, not inf"),
        (Sampling(top_p=0), "spec.top_p must be above 0 and up to 1, not 0"),
        (Sampling(top_p=1.01), "spec.top_p must be above 0 and up to 1, not 1.01"),
        (Sampling(min_p=1.5), "spec.min_p must be between 0 and 1, not 1.5"),
        (Sampling(top_k=-1), "spec.top_k must be 0 or more, not -1"),
        (Sampling(seed=-1), "spec.seed must be 0 or more, not -1"),
        (Sampling(frequency_penalty=-3), "spec.frequency_penalty must be between -2 and 2, not -3"),
        (
            Sampling(presence_penalty=-2.5),
            "spec.presence_penalty must be between -2 and 2, not -2.5",
        ),
        (
            Sampling(repetition_penalty=0),
            "spec.repetition_penalty must be between 0.01 and 2, not 0",
        ),
        (
            Sampling(repetition_penalty=1e-46),
            "spec.repetition_penalty must be between 0.01 and 2, not 1e-46",
        ),
        (
            Sampling(repetition_penalty=0.001),
            "spec.repetition_penalty must be between 0.01 and 2, not 0.001",
        ),
    ],
)
def test_sampling_out_of_range_names_the_range(sampling: Sampling, message: str) -> None:
    assert refusal(sampling=sampling).message == message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "   \n"),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("priority", 5000),
        ("max_attempts", 0),
        ("max_attempts", 99),
        ("schema_digest", "md5:nope"),
    ],
)
def test_request_field_out_of_range_is_named(field: str, value: Any) -> None:
    error = refusal(**{field: value})
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.fields] == [f"spec.{field}"]


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0, 1, 0, 0, 0, -2, -2, 0.01), Sampling(2, 1e-9, 2**31 - 1, 1, 2**63 - 1, 2, 2, 2)],
)
def test_sampling_at_the_limits_is_valid(sampling: Sampling) -> None:
    validate_request(
        GenerationRequest("r", prompt="hi", sampling=sampling), RequestLimits(), ENGINE
    )


def test_sampling_that_the_engine_does_not_support_is_refused_unless_at_its_default() -> None:
    engine = replace(ENGINE, unsupported_sampling=frozenset({"min_p"}))
    error = refusal(engine=engine, sampling=Sampling(min_p=0.1))
    assert [violation.field for violation in error.fields] == ["spec.min_p"]
    assert "must be unset or 0" in error.message
    validate_request(GenerationRequest("r", prompt="hi"), RequestLimits(), engine)


def test_input_over_the_limit_counts_prompt_and_system_message() -> None:
    error = refusal(limits=RequestLimits(max_input_bytes=10), prompt="é" * 3, system="s" * 5)
    assert error.reason is Reason.PROMPT_TOO_LONG
    assert error.metadata == {"limit": "input_bytes", "max": "10", "value": "11"}


def test_prompt_certain_not_to_fit_the_context_is_refused() -> None:
    engine = replace(ENGINE, max_token_bytes=10)
    conversation = (Message(Role.USER, "p" * 10_001),)
    error = refusal(engine=engine, prompt=None, conversation=conversation)
    assert error.reason is Reason.PROMPT_TOO_LONG
    assert error.metadata == {"prompt_tokens": "1001", "max_model_len": "1000"}
    assert error.fields[0].field == "spec.conversation"


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"model": "other"}, Reason.MODEL_NOT_FOUND, "served: model"),
        ({"lora_adapter": "other"}, Reason.LORA_ADAPTER_NOT_FOUND, "loaded: poet"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(
    changes: dict[str, Any], reason: Reason, message: str
) -> None:
    error = refusal(**changes)
    assert error.reason is reason
    assert message in error.message


def test_too_many_messages_are_refused() -> None:
    check_message_count(256, RequestLimits())
    with pytest.raises(GenirError, match="must hold at most 256, not 257"):
        check_message_count(257, RequestLimits())


def test_too_many_warmup_schemas_are_refused() -> None:
    check_schema_count(64, RequestLimits())
    with pytest.raises(GenirError, match="must hold at most 64, not 65"):
        check_schema_count(65, RequestLimits())


@pytest.mark.parametrize("text", ["", "a b", "a" * 129, "a\n", "é"])
def test_malformed_request_id_is_rejected(text: str) -> None:
    assert not is_request_id(text)
    assert is_request_id("Job_7:part-1.a")
