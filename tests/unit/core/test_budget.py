"""Values that reach their budget are ended early: by the model, or else by the server."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import (
    AttemptStarted,
    Completed,
    FinishReason,
    GenerationRequest,
    OnBudget,
    ResumptionReason,
    Rewound,
    TextDelta,
)
from genir_server.schema.grammar.guidance import byte_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from tests.support.scripted_engine import ScriptedEngine, generator_with, prepared
from tests.support.weak_model import PlanningSchemas, WeakModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from genir_server.domain.types import GenerationEvent
    from genir_server.engine.protocol import EngineRequest
    from genir_server.schema.types import PreparedSchema

LONG = json.dumps(
    {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "string", "minLength": 40}},
            "note": {"type": "string"},
        },
        "required": ["items", "note"],
        "additionalProperties": False,
    }
)
TREE = json.dumps(
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "children"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    }
)
UNIQUE = json.dumps(
    {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 3}
)
SCHEMAS = {
    "long": LONG,
    "tree": TREE,
    "unique": UNIQUE,
    "map": json.dumps({"type": "object", "additionalProperties": {"type": ["number", "string"]}}),
    "text": json.dumps({"type": "string", "minLength": 12}),
    "anything": "{}",
}
BUDGET = 300
"""Tokens, which are bytes here: enough for the smallest value of each of these schemas."""


@cache
def analysed(schema: str) -> PreparedSchema:
    """A schema as the server prepares it, for tokens of single bytes."""
    analysis = Pipeline(byte_tokenizer(), SchemaLimits(), NarrowingBounds()).analyse(schema)
    return prepared(
        schema,
        engine_schema=analysis.engine_schema,
        minimal_instance=analysis.minimal_instance,
    )


async def run(
    engine: ScriptedEngine, schema: str = LONG, max_tokens: int = BUDGET, **changes: Any
) -> list[GenerationEvent]:
    in_force = analysed(schema)
    generator = generator_with(engine, PlanningSchemas(in_force), in_force)
    request = GenerationRequest("r-1", prompt="hi", max_tokens=max_tokens, **changes)
    async with aclosing(generator.run(request)) as events:
        return [event async for event in events]


async def outcome(
    engine: ScriptedEngine, schema: str, max_tokens: int
) -> tuple[list[GenerationEvent], GenirError | None]:
    """The events, or the error."""
    try:
        return await run(engine, schema, max_tokens), None
    except GenirError as failure:
        return [], failure


def text_of(events: list[GenerationEvent]) -> str:
    """The text of the last attempt, as a reader of the stream puts it together."""
    text = b""
    for event in events:
        match event:
            case AttemptStarted():
                text = b""
            case TextDelta():
                text += event.text.encode()
            case Rewound():
                assert event.to_bytes <= len(text)
                text = text[: event.to_bytes]
    return text.decode()


def result(events: list[GenerationEvent]) -> Completed:
    completed = events[-1]
    assert isinstance(completed, Completed)
    return completed


async def test_model_continues_under_a_closing_schema() -> None:
    engine = WeakModel(1, ends_later=0.9)
    events = await run(engine, TREE)
    completed = result(events)
    first, second = engine.requests
    (attempt,) = completed.attempts
    (resumption,) = attempt.resumptions
    kept = bytes(second.written_token_ids).decode()
    assert text_of(events).startswith(kept)
    assert json.loads(text_of(events)) == json.loads(completed.ir_json)
    assert second.schema != first.schema
    assert second.prompt_token_ids == first.prompt_token_ids
    assert len(second.written_token_ids) + second.max_tokens == BUDGET
    assert resumption.reason is ResumptionReason.BUDGET
    assert resumption.kept_tokens <= len(second.written_token_ids)
    assert resumption.kept_tokens + resumption.dropped_tokens == BUDGET
    assert resumption.pointer == completed.closed_early[-1]
    assert completed.closed_early[0] == ""
    assert completed.finish_reason is FinishReason.LENGTH
    assert BUDGET < completed.usage.completion_tokens <= 2 * BUDGET
    assert len(text_of(events).encode()) <= BUDGET


async def test_server_writes_the_rest_for_an_engine_that_cannot_continue() -> None:
    engine = WeakModel(1, can_resume=False)
    completed = result(await run(engine))
    assert len(engine.requests) == 1
    assert completed.closed_early
    assert completed.usage.completion_tokens == BUDGET


class RefusingModel(WeakModel):
    """Refuses to continue a text."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        if request.written_token_ids:
            request = replace(request, consumed=b"\x00")
        async for delta in super().generate(request):
            yield delta


async def test_server_writes_the_rest_where_the_engine_refuses_the_closing_schema() -> None:
    completed = result(await run(RefusingModel(1)))
    assert completed.closed_early


async def test_value_that_still_does_not_end_is_ended_by_the_server() -> None:
    # It never ends a string, an array or an object of its own will.
    for seed in range(20):
        events = await run(WeakModel(seed), TREE)
        completed = result(events)
        rewinds = [event for event in events if isinstance(event, Rewound)]
        assert len(completed.attempts[0].resumptions) == len(rewinds)
        if len(rewinds) > 1:
            first, second = completed.attempts[0].resumptions
            assert second.kept_tokens >= first.kept_tokens
            break
    else:
        pytest.fail("no closing schema left the model a choice")
    assert json.loads(text_of(events)) == json.loads(completed.ir_json)


async def test_caller_that_wants_to_fail_does() -> None:
    with pytest.raises(GenirError) as raised:
        await run(WeakModel(1), on_budget=OnBudget.FAIL)
    assert raised.value.reason is Reason.TRUNCATED


async def test_text_without_an_end_within_the_budget_fails() -> None:
    with pytest.raises(GenirError) as raised:
        await run(WeakModel(1), max_tokens=8)
    assert raised.value.reason is Reason.TRUNCATED


async def test_value_that_is_complete_at_the_budget_is_not_closed_early() -> None:
    events = await run(ScriptedEngine('{"a":3}', finish=FinishReason.LENGTH), prepared().text, 7)
    assert result(events).closed_early == ()
    assert not any(isinstance(event, Rewound) for event in events)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(sorted(SCHEMAS)),
    st.integers(0, 1 << 30),
    st.integers(100, 600),
    st.sampled_from([0.0, 0.02, 0.2]),
    st.booleans(),
)
async def test_no_call_is_truncated(
    name: str, seed: int, max_tokens: int, ends: float, can_resume: bool
) -> None:
    engine = WeakModel(seed, ends=ends, can_resume=can_resume)
    events, failure = await outcome(engine, SCHEMAS[name], max_tokens)
    if failure is not None:
        # What only verification checks may be violated before the budget is reached.
        assert failure.reason in (Reason.VALIDATION_FAILED, Reason.CONSTRAINT_FAILED)
        assert failure.failure is not None
        assert failure.failure.finish_reason is FinishReason.STOP
        return
    completed = result(events)
    assert jsonschema_rs.validator_for(json.loads(SCHEMAS[name])).is_valid(
        json.loads(completed.ir_json)
    )
    assert json.loads(text_of(events)) == json.loads(completed.ir_json)
    dropped = sum(each.dropped_tokens for each in completed.attempts[-1].resumptions)
    assert completed.usage.completion_tokens - dropped <= max_tokens + 1 or (
        len(completed.attempts) > 1
    )
