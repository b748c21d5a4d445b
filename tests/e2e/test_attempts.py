"""What decoding cannot enforce: checked, tried again, told; by the real model on a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir import (
    AttemptReason,
    ConstraintFailedError,
    FinishReason,
    ValidationFailedError,
)
from genir.types import Accepted, AttemptStarted, Completed, StreamEvent, TextDelta, Usage
from tests.support.calls import refused

if TYPE_CHECKING:
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

FEW: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 4}
# Six different ones of five: decoding cannot see that this is impossible.
IMPOSSIBLE: dict[str, Any] = {
    "type": "array",
    "items": FEW,
    "minItems": 6,
    "maxItems": 6,
    "uniqueItems": True,
}
POSSIBLE: dict[str, Any] = {**IMPOSSIBLE, "minItems": 3, "maxItems": 3}
# Keys that are open, of which there are only two.
KEYS: dict[str, Any] = {
    "type": "object",
    "patternProperties": {"^[ab]$": FEW},
    "additionalProperties": False,
}
MOST_SEEDS = 60


def _sum(usages: list[Usage]) -> tuple[int, int]:
    return sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages)


def test_when_every_attempt_fails_the_violations_and_the_cost_of_each_are_told(
    client: IRClient,
) -> None:
    events: list[StreamEvent[Any]] = []
    with (
        pytest.raises(ValidationFailedError) as raised,
        client.stream("Six digits.", schema=IMPOSSIBLE, max_attempts=3, temperature=0) as stream,
    ):
        events.extend(stream)  # Extends as far as it comes.
    error = raised.value
    (violation,) = error.violations
    assert (violation.instance_pointer, violation.keyword) == ("", "uniqueItems")
    assert violation.schema_pointer == "/uniqueItems"
    assert len(json.loads(error.raw_output)) == 6
    assert [(a.number, a.reason, a.finish_reason) for a in error.attempts] == [
        (1, AttemptReason.FIRST, FinishReason.STOP),
        (2, AttemptReason.VALIDATION_FAILED, FinishReason.STOP),
        (3, AttemptReason.VALIDATION_FAILED, FinishReason.STOP),
    ]
    usages = [attempt.usage for attempt in error.attempts]
    assert error.usage is not None
    assert (error.usage.prompt_tokens, error.usage.completion_tokens) == _sum(usages)
    assert usages[1].prompt_tokens > usages[0].prompt_tokens, "the mistake must be shown"
    assert isinstance(events[0], Accepted)
    starts = [event for event in events if isinstance(event, AttemptStarted)]
    assert [(start.number, start.reason) for start in starts] == [
        (attempt.number, attempt.reason) for attempt in error.attempts
    ]
    tokens = sum(event.token_count for event in events if isinstance(event, TextDelta))
    assert tokens == error.usage.completion_tokens


def test_a_single_attempt_is_a_single_attempt(stub: ir_service_pb2_grpc.IRServiceStub) -> None:
    refusal = refused(stub, "Six digits.", schema=IMPOSSIBLE, max_attempts=1)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "VALIDATION_FAILED",
    )
    assert refusal.failure is not None
    assert len(refusal.failure.attempts) == 1
    assert refusal.metadata["attempts"] == "1"


def test_a_further_attempt_succeeds_where_the_first_did_not(client: IRClient) -> None:
    # Hot enough that about every second first attempt repeats a digit, whatever the arithmetic
    # of the machine: looking for a seed beats trusting in one.
    for seed in range(MOST_SEEDS):
        try:
            result = client.generate(
                "Three different digits.",
                schema=POSSIBLE,
                schema_in_prompt="never",
                max_attempts=5,
                temperature=1.5,
                top_p=1.0,
                seed=seed,
            )
        except ValidationFailedError:
            continue
        assert len(set(result.value)) == 3, "OK means valid"
        if len(result.attempts) > 1:
            break
    else:
        pytest.fail(f"no seed below {MOST_SEEDS} needed and found a further attempt")
    assert [attempt.reason for attempt in result.attempts] == [
        AttemptReason.FIRST,
        *[AttemptReason.VALIDATION_FAILED] * (len(result.attempts) - 1),
    ]
    usages = [attempt.usage for attempt in result.attempts]
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == _sum(usages)


def test_after_a_key_written_twice_the_next_attempt_cannot_do_so(client: IRClient) -> None:
    for seed in range(MOST_SEEDS):
        # Two attempts are enough, whatever the model does: this raises for no seed.
        result = client.generate(
            "Some letters.", schema=KEYS, max_attempts=2, temperature=1.5, top_p=1.0, seed=seed
        )
        if len(result.attempts) > 1:
            break
    else:
        pytest.fail(f"no seed below {MOST_SEEDS} wrote a key twice")
    assert len(result.value) <= 1


def test_after_a_value_that_was_cut_the_next_is_brief(client: IRClient) -> None:
    # At least 30 characters, and a bound of 600, for which this budget is too small.
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"history": {"type": "string", "minLength": 30}},
        "required": ["history"],
        "additionalProperties": False,
    }
    events: list[StreamEvent[Any]] = []
    with client.stream(
        "Tell the whole history of the compiler.", schema=schema, temperature=0, max_tokens=128
    ) as stream:
        events.extend(stream)
    starts = [event for event in events if isinstance(event, AttemptStarted)]
    assert [(start.number, start.reason) for start in starts] == [
        (1, AttemptReason.FIRST),
        (2, AttemptReason.TRUNCATED),
    ]
    completed = events[-1]
    assert isinstance(completed, Completed)
    result = completed.result
    assert [attempt.finish_reason for attempt in result.attempts] == [
        FinishReason.LENGTH,
        FinishReason.STOP,
    ]
    assert 30 <= len(result.value["history"]) <= 80


def test_a_grammar_that_meets_a_limit_of_the_engine_is_a_failed_constraint(
    client: IRClient,
) -> None:
    """The engine takes this schema, and gives up as soon as a property is begun."""
    schema = {
        "type": "object",
        "anyOf": [{"properties": {f"k{index}": True}} for index in range(200)],
        "unevaluatedProperties": False,
    }
    failure = None
    for seed in range(MOST_SEEDS):
        try:
            client.generate("Fill it.", schema=schema, temperature=1.5, seed=seed, max_tokens=50)
        except ConstraintFailedError as error:
            failure = error
            break
    # The engine can follow one value, {}, and the model may write it, but not every time.
    assert failure is not None
    assert [attempt.reason for attempt in failure.attempts] == [
        AttemptReason.FIRST,
        AttemptReason.CONSTRAINT_FAILED,
    ]
    assert failure.raw_output.startswith("{")
