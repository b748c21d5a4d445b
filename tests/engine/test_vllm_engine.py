"""The real engine on the embedded model: vLLM keeps the promises of the `Engine` protocol."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from contextlib import aclosing
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import jsonschema_rs
import pytest

from genir_server.domain.types import FinishReason, Message, Role, Sampling, TextDelta
from genir_server.engine.protocol import (
    EngineRejectedError,
    EngineRequest,
    EngineUnavailableError,
)

if TYPE_CHECKING:
    from genir_server.engine.vllm.engine import VllmEngine

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")

CAT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 12},
        "colour": {"enum": ["black", "white", "red"]},
        "lives": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name", "colour", "lives"],
    "additionalProperties": False,
}
ENDLESS: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 4000}},
    "required": ["text"],
    "additionalProperties": False,
}


async def request(
    engine: VllmEngine, request_id: str, schema: dict[str, Any], **changes: Any
) -> EngineRequest:
    ids = await engine.render_chat([Message(Role.USER, "Describe a cat as JSON.")])
    settings: dict[str, Any] = {"sampling": Sampling(temperature=0.0), "max_tokens": 100}
    return EngineRequest(request_id, ids, json.dumps(schema), **(settings | changes))


async def run(engine: VllmEngine, wanted: EngineRequest) -> list[TextDelta]:
    return [delta async for delta in engine.generate(wanted)]


async def until_idle(engine: VllmEngine) -> None:
    """Waits until the engine core reports no running and no waiting requests."""
    async with asyncio.timeout(10):
        while (activity := engine.activity()).running or activity.waiting:  # noqa: ASYNC110
            # The counts arrive with the engine core's steps, so there is no event to wait for.
            await asyncio.sleep(0.01)


async def test_only_the_first_and_last_delta_do_not_wait_for_tokens(engine: VllmEngine) -> None:
    one_by_one = await run(engine, await request(engine, "singly", ENDLESS, max_tokens=24))
    at_once = await run(
        engine, await request(engine, "waiting", ENDLESS, max_tokens=24, tokens_per_delta=10)
    )
    assert "".join(d.text for d in at_once) == "".join(d.text for d in one_by_one)
    assert len(at_once) < len(one_by_one)
    # Tokens that piled up make a delta longer. Only the first and the last may be shorter.
    sizes = [delta.token_count for delta in at_once]
    assert sum(sizes) == 24
    assert sizes[0] == 1
    assert all(size >= 10 for size in sizes[1:-1])


async def test_output_satisfies_the_schema(engine: VllmEngine) -> None:
    deltas = await run(engine, await request(engine, "obeys", CAT))
    jsonschema_rs.validate(CAT, json.loads("".join(delta.text for delta in deltas)))
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason is FinishReason.STOP
    assert deltas[-1].cached_prompt_tokens is not None
    assert deltas[-1].queue_seconds is not None
    assert 0 <= deltas[-1].queue_seconds < 10
    assert 5 < sum(delta.token_count for delta in deltas) <= 100


async def test_engine_core_reports_the_backend_guidance(engine: VllmEngine) -> None:
    await run(engine, await request(engine, "observed", CAT))
    assert engine.effective_backend == "guidance"
    assert engine.info.configured_backend == "guidance"


async def test_info_names_model_and_context(engine: VllmEngine) -> None:
    info = engine.info
    assert (info.model, info.max_model_len) == ("smollm2-135m-instruct", 4096)
    assert not engine.dead


async def test_reaching_max_tokens_is_reported(engine: VllmEngine) -> None:
    deltas = await run(engine, await request(engine, "spent", ENDLESS, max_tokens=7))
    assert deltas[-1].finish_reason is FinishReason.LENGTH
    assert sum(delta.token_count for delta in deltas) == 7


async def test_concurrent_requests_get_their_own_output(engine: VllmEngine) -> None:
    alone = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]} | {
        "additionalProperties": False
    }
    answers = await asyncio.gather(
        run(engine, await request(engine, "first", CAT, priority=1)),
        run(engine, await request(engine, "second", alone, priority=-1)),
    )
    first, second = (json.loads("".join(delta.text for delta in deltas)) for deltas in answers)
    jsonschema_rs.validate(CAT, first)
    assert second == {"a": 1}
    await until_idle(engine)


async def test_cancelled_request_leaves_the_engine(engine: VllmEngine) -> None:
    wanted = await request(engine, "cancelled", ENDLESS, max_tokens=2000)
    started = asyncio.Event()

    async def consume() -> None:
        async with aclosing(engine.generate(wanted)) as deltas:
            async for _ in deltas:
                started.set()

    task = asyncio.create_task(consume())
    async with asyncio.timeout(30):
        await started.wait()
    assert engine.activity().running == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(engine)


async def test_closed_generator_removes_its_request(engine: VllmEngine) -> None:
    deltas = engine.generate(await request(engine, "closed", ENDLESS, max_tokens=2000))
    await anext(deltas)
    await deltas.aclose()
    await until_idle(engine)


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 5])
async def test_request_cancelled_before_its_first_token_leaves_the_engine(
    engine: VllmEngine, delay: int
) -> None:
    """Cancels the request at several points while it is handed over to the engine core."""
    wanted = await request(engine, f"early-{delay}", ENDLESS, max_tokens=2000)
    task = asyncio.create_task(run(engine, wanted))
    for _ in range(delay):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Once a later request is answered, everything before it has arrived.
    await run(engine, await request(engine, f"after-{delay}", ENDLESS, max_tokens=1))
    await until_idle(engine)


async def test_refused_request_reports_the_reason(
    engine: VllmEngine,
) -> None:
    too_long = replace(await request(engine, "refused", CAT), prompt_token_ids=[1] * 5000)
    with pytest.raises(EngineRejectedError, match="maximum context length"):
        await run(engine, too_long)
    await until_idle(engine)
    assert await run(engine, await request(engine, "next", CAT))


async def test_unknown_adapter_is_named_in_the_error(engine: VllmEngine) -> None:
    with pytest.raises(EngineRejectedError, match="no LoRA adapter is named nobody"):
        await run(engine, await request(engine, "adapter", CAT, lora_adapter="nobody"))


async def test_last_step_time_advances(engine: VllmEngine) -> None:
    await run(engine, await request(engine, "dated", CAT))
    before = engine.activity().last_step_time
    await run(engine, await request(engine, "dated-later", CAT))
    after = engine.activity().last_step_time
    assert before is not None
    assert after is not None
    assert after > before


async def test_failed_engine_core_wakes_the_waiter_for_its_death(
    engine: VllmEngine,
) -> None:
    await run(engine, await request(engine, "awake", CAT))
    assert not await engine.wait_dead(0.05)
    # The wait must not cancel this task of vLLM's, which notices the failure.
    assert not cast("Any", engine._llm).output_handler.done()

    handler = asyncio.create_task(asyncio.sleep(0.1))
    failing = SimpleNamespace(output_handler=handler, errored=False)
    handler.add_done_callback(lambda _: setattr(failing, "errored", True))
    other = copy.copy(engine)
    other._llm = cast("Any", failing)
    began = time.monotonic()
    assert await other.wait_dead(60)
    assert time.monotonic() - began < 10


async def test_full_queue_of_vllm_is_unavailable_and_passes(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await request(engine, "beyond-the-queue", CAT)
    scheduling = cast("Any", engine._llm).scheduler_config
    monkeypatch.setattr(scheduling, "max_num_queued_reqs", 0)
    with pytest.raises(EngineUnavailableError, match="busy"):
        await run(engine, wanted)
    monkeypatch.undo()
    assert await run(engine, await request(engine, "within-the-queue", CAT))
