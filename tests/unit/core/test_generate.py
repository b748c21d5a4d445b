from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import (
    Accepted,
    AttemptReason,
    AttemptStarted,
    Completed,
    FinishReason,
    GenerationRequest,
    PromptFormat,
    Role,
    Sampling,
    TextDelta,
    Tightening,
)
from genir_server.engine.protocol import (
    EngineDeadError,
    EngineRejectedError,
    EngineUnavailableError,
)
from tests.support.scripted_engine import (
    SINGLE_KEYS,
    Schemas,
    ScriptedEngine,
    generator_with,
    prepared,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from genir_server.core.generate import IRGenerator
    from genir_server.domain.types import GenerationEvent, Message
    from genir_server.engine.protocol import EngineRequest
    from genir_server.schema.types import PreparedSchema

BRIEF = '{"title":"brief"}'
BRIEF_SINGLE_KEYS = '{"title":"brief, with single keys"}'


def generator_for(engine: ScriptedEngine, **changes: Any) -> IRGenerator:
    schema = prepared(**changes)
    return generator_with(engine, Schemas(schema), schema)


def request(**changes: Any) -> GenerationRequest:
    return GenerationRequest(**{"request_id": "r-1", "prompt": "hi", **changes})


async def run(engine: ScriptedEngine, **changes: Any) -> list[GenerationEvent]:
    async with aclosing(generator_for(engine).run(request(**changes))) as events:
        return [event async for event in events]


async def test_events_come_in_order_and_the_result_is_in_normal_form() -> None:
    engine = ScriptedEngine('{ "a" : 1.0 }')
    events = await run(engine)
    assert isinstance(events[0], Accepted)
    assert events[1] == AttemptStarted(1, AttemptReason.FIRST)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == '{ "a" : 1.0 }'
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.ir_json == '{"a":1}'
    assert completed.usage.completion_tokens == len('{ "a" : 1.0 }')
    assert completed.usage.cached_prompt_tokens == 3
    assert completed.timings.queue == 0.25


@pytest.mark.parametrize(("across_callers", "sent"), [(False, 0), (True, -5)])
async def test_engine_gets_the_priority_only_of_callers_with_the_permission(
    *, across_callers: bool, sent: int
) -> None:
    engine = ScriptedEngine('{"a":1}')
    await run(engine, priority=-5, priority_across_callers=across_callers)
    assert [each.priority for each in engine.requests] == [sent]


async def test_invalid_value_is_retried_with_the_violations_in_the_prompt() -> None:
    engine = ScriptedEngine('{"a":77}', '{"a":7}')
    events = await run(engine, sampling=Sampling(seed=5))
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.ir_json == '{"a":7}'
    assert [attempt.reason for attempt in completed.attempts] == [
        AttemptReason.FIRST,
        AttemptReason.VALIDATION_FAILED,
    ]
    assert completed.usage.completion_tokens == len('{"a":77}{"a":7}')
    assert [sent.sampling.seed for sent in engine.requests] == [5, 6]
    shown = engine.chats[-1]
    assert shown[-2].content == '{"a":77}'
    assert "/a" in shown[-1].content
    assert len({sent.request_id for sent in engine.requests}) == 2


async def test_attempt_after_a_duplicate_key_cannot_repeat_keys() -> None:
    engine = ScriptedEngine('{"a":1,"a":1}', '{"a":77}', '{"a":7}')
    await run(engine, max_attempts=3)
    first, second, third = (sent.schema for sent in engine.requests)
    assert first == prepared().engine_schema
    assert second == third == SINGLE_KEYS


async def test_other_violations_do_not_restrict_keys() -> None:
    engine = ScriptedEngine('{"a":77}', '{"a":7}')
    await run(engine)
    assert {sent.schema for sent in engine.requests} == {prepared().engine_schema}


async def test_when_every_attempt_fails_the_violations_are_told() -> None:
    engine = ScriptedEngine('{"a":77}', '{"a":78}', '{"a":79}')
    with pytest.raises(GenirError) as raised:
        await run(engine, max_attempts=3)
    error = raised.value
    assert error.reason is Reason.VALIDATION_FAILED
    assert error.failure is not None
    assert error.failure.raw == '{"a":79}'
    assert len(error.failure.attempts) == 3
    assert error.failure.violations[0].keyword == "maximum"


async def test_incomplete_value_after_stop_is_constraint_failed_and_retried() -> None:
    engine = ScriptedEngine('{"a":', '{"a":2}')
    events = await run(engine)
    assert AttemptStarted(2, AttemptReason.CONSTRAINT_FAILED) in events
    with pytest.raises(GenirError) as raised:
        await run(ScriptedEngine('{"a":', '{"a"'))
    assert raised.value.reason is Reason.CONSTRAINT_FAILED


async def test_what_max_tokens_cut_is_not_tried_again_where_nothing_is_briefer() -> None:
    engine = ScriptedEngine('{"a":', finish=FinishReason.LENGTH)
    with pytest.raises(GenirError) as raised:
        await run(engine)
    assert raised.value.reason is Reason.TRUNCATED
    assert len(engine.requests) == 1


async def run_with_brief_form(
    engine: ScriptedEngine, kind: type[Schemas] = Schemas, **changes: Any
) -> list[GenerationEvent]:
    schema = prepared()
    schemas = kind(schema)
    schemas.tightened[Tightening.COMPACT] = BRIEF
    schemas.tightened[Tightening.COMPACT | Tightening.SINGLE_KEYS] = BRIEF_SINGLE_KEYS
    generator = generator_with(engine, schemas, schema)
    async with aclosing(generator.run(request(**changes))) as events:
        return [event async for event in events]


class CutEngine(ScriptedEngine):
    """Reaches max_tokens in each request whose text is not whole."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        async for delta in super().generate(request):
            whole = self._texts[len(self.requests) - 1]
            cut = delta.finish_reason and not str(whole).endswith("}")
            yield delta._replace(finish_reason=FinishReason.LENGTH) if cut else delta


async def test_what_max_tokens_cut_is_tried_again_more_briefly() -> None:
    engine = CutEngine('{"a":', '{"a":1}')
    events = await run_with_brief_form(engine, sampling=Sampling(temperature=0, seed=4))
    assert AttemptStarted(2, AttemptReason.TRUNCATED) in events
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.ir_json == '{"a":1}'
    assert [attempt.finish_reason for attempt in completed.attempts] == [
        FinishReason.LENGTH,
        FinishReason.STOP,
    ]
    first, second = engine.requests
    assert (first.schema, second.schema) == (prepared().engine_schema, BRIEF)
    # The same prompt, which the engine has in its cache, and no need to be less greedy.
    assert second.prompt_token_ids == first.prompt_token_ids
    assert second.sampling == Sampling(temperature=0, seed=5)


async def test_what_is_cut_even_though_brief_is_tried_with_other_seeds_and_then_truncated() -> None:
    engine = CutEngine('{"a":', '{"a":', '{"a"')
    with pytest.raises(GenirError) as raised:
        await run_with_brief_form(engine, max_attempts=3, sampling=Sampling(temperature=0, seed=1))
    assert raised.value.reason is Reason.TRUNCATED
    failure = raised.value.failure
    assert failure is not None
    assert failure.raw == '{"a"'
    assert [attempt.reason for attempt in failure.attempts] == [
        AttemptReason.FIRST,
        AttemptReason.TRUNCATED,
        AttemptReason.TRUNCATED,
    ]
    assert [sent.schema for sent in engine.requests] == [prepared().engine_schema, BRIEF, BRIEF]
    # The same greedy choice would be cut at the same place.
    assert [sent.sampling.temperature for sent in engine.requests] == [0, 0, 0.3]
    assert [sent.sampling.seed for sent in engine.requests] == [1, 2, 3]


async def test_whoever_wants_it_brief_gets_it_so_at_once() -> None:
    engine = CutEngine('{"a":1}')
    await run_with_brief_form(engine, compact=True)
    assert [sent.schema for sent in engine.requests] == [BRIEF]


async def test_form_without_narrowing_does_not_count_as_compact() -> None:
    """Where the engine takes no narrowed form, preparing gives the one without any bounds."""

    class Wide(Schemas):
        async def prepare(
            self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
        ) -> PreparedSchema:
            return replace(await super().prepare(text, caller, tightening), notices=())

    engine = CutEngine('{"a":')
    with pytest.raises(GenirError) as raised:
        await run_with_brief_form(engine, Wide)
    assert raised.value.reason is Reason.TRUNCATED
    assert len(engine.requests) == 1


@pytest.mark.parametrize("changes", [{"max_tokens": 127}, {"max_attempts": 1}])
async def test_whoever_means_to_cut_gets_what_was_cut(changes: dict[str, Any]) -> None:
    engine = CutEngine('{"a":')
    with pytest.raises(GenirError) as raised:
        await run_with_brief_form(engine, **changes)
    assert raised.value.reason is Reason.TRUNCATED
    assert len(engine.requests) == 1


async def test_what_was_ruled_out_stays_ruled_out() -> None:
    engine = CutEngine('{"a":1,"a":1}', '{"a":', '{"a":77}', '{"a":7}')
    await run_with_brief_form(engine, max_attempts=4)
    assert [sent.schema for sent in engine.requests] == [
        prepared().engine_schema,
        SINGLE_KEYS,
        BRIEF_SINGLE_KEYS,
        BRIEF_SINGLE_KEYS,
    ]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [(('{"a":',), Reason.TRUNCATED), (('{"a":77}',), Reason.VALIDATION_FAILED)],
)
async def test_no_attempt_starts_without_enough_time(
    texts: tuple[str, ...], reason: Reason
) -> None:
    class Slow(CutEngine):
        async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
            await asyncio.sleep(0.2)
            async for delta in super().generate(request):
                yield delta

    engine = Slow(*texts)
    with pytest.raises(GenirError) as raised:
        await run_with_brief_form(engine, deadline=time.monotonic() + 0.3)
    assert raised.value.reason is reason
    assert len(engine.requests) == 1


async def test_no_attempt_starts_after_a_slow_preparation() -> None:
    class Slow(Schemas):
        async def prepare(
            self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
        ) -> PreparedSchema:
            await asyncio.sleep(0.3 if tightening else 0)
            return await super().prepare(text, caller, tightening)

    engine = CutEngine('{"a":')
    with pytest.raises(GenirError) as raised:
        await run_with_brief_form(engine, Slow, deadline=time.monotonic() + 0.2)
    assert raised.value.reason is Reason.TRUNCATED
    assert len(engine.requests) == 1


async def test_what_max_tokens_cut_but_is_complete_is_a_result() -> None:
    events = await run(ScriptedEngine('{"a":3}', finish=FinishReason.LENGTH))
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"a":1e999}', '{"a":9007199254740993}'])
async def test_what_readers_disagree_on_is_no_result(text: str) -> None:
    with pytest.raises(GenirError) as raised:
        await run(ScriptedEngine(text), max_attempts=1)
    assert raised.value.reason is Reason.VALIDATION_FAILED
    assert raised.value.failure is not None
    assert raised.value.failure.violations[0].message


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (EngineDeadError("gone"), Reason.ENGINE_DEAD),
        (EngineRejectedError("no such grammar"), Reason.SCHEMA_UNSUPPORTED),
        (EngineUnavailableError("paused"), Reason.ENGINE_UNAVAILABLE),
    ],
)
async def test_engine_errors_have_a_reason(fault: Exception, reason: Reason) -> None:
    with pytest.raises(GenirError) as raised:
        await run(ScriptedEngine(fault))
    assert raised.value.reason is reason
    # A retry on this server helps in one of these cases only.
    assert (raised.value.retry_after is not None) is (reason is Reason.ENGINE_UNAVAILABLE)


async def test_closing_the_run_closes_the_engine_request() -> None:
    engine = ScriptedEngine('{"a":1}')
    async with aclosing(generator_for(engine).run(request())) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                assert engine.open_requests == 1
                break
    assert engine.open_requests == 0


async def test_greedy_raw_prompt_is_not_retried_unchanged() -> None:
    engine = ScriptedEngine('{"a":77}', '{"a":7}')
    generator = generator_for(engine)
    raw = GenerationRequest(
        "r", prompt="x", prompt_format=PromptFormat.RAW, sampling=Sampling(temperature=0)
    )
    async with aclosing(generator.run(raw)) as events:
        assert [event async for event in events]
    assert [sent.sampling.temperature for sent in engine.requests] == [0, 0.3]
    assert engine.requests[0].prompt_token_ids == engine.requests[1].prompt_token_ids


async def test_greedy_model_that_repeats_a_mistake_gets_a_different_attempt() -> None:
    engine = ScriptedEngine('{"a":77}', '{"a":77}', '{"a":7}')
    await run(engine, sampling=Sampling(temperature=0), max_attempts=3)
    first, second, third = engine.requests
    assert second.prompt_token_ids != first.prompt_token_ids
    assert third.prompt_token_ids == second.prompt_token_ids
    assert [sent.sampling.temperature for sent in engine.requests] == [0, 0, 0.3]


async def test_template_without_multi_turn_support_does_not_end_the_attempts() -> None:
    class SingleTurn(ScriptedEngine):
        async def render_chat(self, messages: Sequence[Message]) -> list[int]:
            if any(message.role is Role.ASSISTANT for message in messages):
                raise ValueError("one turn only")
            return await super().render_chat(messages)

    engine = SingleTurn('{"a":77}', '{"a":7}')
    completed = (await run(engine, sampling=Sampling(temperature=0)))[-1]
    assert isinstance(completed, Completed)
    assert len(completed.attempts) == 2
    assert [sent.sampling.temperature for sent in engine.requests] == [0, 0.3]


async def test_budget_below_the_schemas_minimum_is_refused_before_the_engine() -> None:
    engine = ScriptedEngine()
    with pytest.raises(GenirError) as raised:
        async with aclosing(
            generator_for(engine, min_tokens=9).run(request(max_tokens=8))
        ) as events:
            await anext(events)
    assert raised.value.reason is Reason.BUDGET_TOO_SMALL
    assert raised.value.metadata == {"max_tokens": "8", "min_tokens": "9"}
    assert not engine.requests
