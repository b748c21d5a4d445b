"""Token budgets: a value is complete or refused, and every call ends."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir import TruncatedError
from genir.types import FinishReason, TextDelta
from genir.v1 import generation_pb2
from tests.support.calls import refused, wait_until_idle

if TYPE_CHECKING:
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

LONG_STRINGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "first": {"type": "string", "maxLength": 200},
        "second": {"type": "string", "maxLength": 300},
        "third": {"type": "string", "maxLength": 500},
    },
    "required": ["first", "second", "third"],
    "additionalProperties": False,
}
SLOW: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 400, "maxLength": 600}},
    "required": ["text"],
    "additionalProperties": False,
}
FAIL = generation_pb2.ON_BUDGET_FAIL
PROMPT = "Tell the history of the compiler."


def test_larger_budget_gives_no_shorter_result(client: IRClient) -> None:
    wait_until_idle(client)
    lengths: list[int] = []
    for budget in (150, 600, 1200):
        try:
            result = client.generate(
                PROMPT, schema=LONG_STRINGS, temperature=0, max_tokens=budget, on_budget="fail"
            )
        except TruncatedError:
            lengths.append(0)
        else:
            lengths.append(len(result.ir_json))
    assert lengths == sorted(lengths)
    assert sum(length > 0 for length in lengths) > 1, "too few results to compare"


@pytest.mark.any_model
def test_truncation_reports_usage_and_raw_output(
    client: IRClient, stub: ir_service_pb2_grpc.IRServiceStub
) -> None:
    refusal = refused(stub, PROMPT, schema=SLOW, temperature=0.0, max_tokens=20, on_budget=FAIL)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "TRUNCATED")
    failure = refusal.failure
    assert failure is not None
    assert failure.usage.completion_tokens == 20
    assert failure.raw_head.startswith('{"text"')
    assert failure.raw_size_bytes == len(failure.raw_head.encode()) + len(failure.raw_tail.encode())
    digest = hashlib.sha256((failure.raw_head + failure.raw_tail).encode()).hexdigest()
    assert failure.raw_digest == f"sha256:{digest}"

    with pytest.raises(TruncatedError) as raised:
        client.generate(PROMPT, schema=SLOW, temperature=0, max_tokens=20, on_budget="fail")
    error = raised.value
    assert error.raw_output.startswith('{"text"')
    assert error.usage is not None
    assert error.usage.completion_tokens == 20
    assert error.failure is not None
    assert error.failure.finish_reason is FinishReason.LENGTH


@pytest.mark.any_model
def test_several_bounded_strings_begin_within_seconds(client: IRClient) -> None:
    # A new schema for every run, so that it is not cached. The bound allows for a busy machine.
    schema = {**LONG_STRINGS, "title": f"run {time.time_ns()}"}
    began = time.monotonic()
    with client.stream(PROMPT, schema=schema, seed=1) as events:
        for event in events:
            if isinstance(event, TextDelta):
                assert time.monotonic() - began < 30
                break
        else:
            raise AssertionError("no text came")


@pytest.mark.any_model
def test_value_that_is_complete_at_the_budget_is_a_result(client: IRClient) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"ok": {"const": True}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    whole = client.generate("Say ok.", schema=schema, temperature=0)
    tokens = whole.usage.completion_tokens
    results = []
    for budget in range(max(1, tokens - 1), tokens + 1):
        try:
            result = client.generate(
                "Say ok.", schema=schema, temperature=0, max_tokens=budget, on_budget="fail"
            )
        except TruncatedError:
            continue
        results.append(result)
    assert results
    assert all(json.loads(result.ir_json) == {"ok": True} for result in results)
