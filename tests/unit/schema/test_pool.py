"""Slow schemas and schemas that crash a worker delay no other schema."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.grammar_tokenizer import GrammarTokenizer
from genir_server.schema.analysis import decode_reply
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.isolated_pipeline import (
    IsolatedPipeline,
    analyse_in_worker,
    refusal_of,
)
from genir_server.schema.isolation.job import Failure
from genir_server.schema.limits import NarrowingBounds, SchemaLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from genir_server.domain.types import Tightening
    from genir_server.schema.isolation.pool import WorkerPool
    from genir_server.schema.pipeline import Pipeline

SLOW_SCHEMAS = 5

UNREADABLE = GrammarTokenizer(hugging_face='{"model": null}')


@pytest.fixture(scope="module")
async def pipeline() -> AsyncIterator[IsolatedPipeline]:
    # A long wall time, because the machine may be busy.
    subject = pipeline_with(
        SchemaLimits(quick_seconds=0.05, probe_seconds=0.3, probe_wall_seconds=120.0)
    )
    await subject.start()
    yield subject
    await subject.close()


def pipeline_with(limits: SchemaLimits, workers: int = 1) -> IsolatedPipeline:
    return IsolatedPipeline(None, limits, NarrowingBounds(), workers)


def slow(number: int) -> str:
    """A schema that keeps all counting limits and takes seconds."""
    alternatives = [
        {"type": "object", "properties": {f"k{index}": True}, "required": ["k0"]}
        for index in range(2_000)
    ]
    return json.dumps({"title": str(number), "oneOf": alternatives})


def pool_of(pipeline: IsolatedPipeline) -> WorkerPool:
    return pipeline._pool


def pids(pipeline: IsolatedPipeline) -> set[int]:
    return {worker.pid for worker in pool_of(pipeline)._all}


async def test_quick_schema_waits_only_for_the_quick_time_of_slow_ones(
    pipeline: IsolatedPipeline,
) -> None:
    before = pids(pipeline)
    start = time.monotonic()
    slow_ones = [
        asyncio.create_task(pipeline.analyse(slow(number))) for number in range(SLOW_SCHEMAS)
    ]
    await asyncio.sleep(0.01)
    waits = []
    for number in range(SLOW_SCHEMAS):
        sent = time.monotonic()
        await pipeline.analyse(json.dumps({"title": str(number), "type": "null"}))
        waits.append(time.monotonic() - sent)
    outcomes = await asyncio.gather(*slow_ones, return_exceptions=True)
    total = time.monotonic() - start
    assert all(isinstance(outcome, SchemaRefusedError) for outcome in outcomes)
    assert sum(waits) < total / 2
    assert pids(pipeline) == before
    assert pipeline.counters.slow > 0


async def test_caller_waits_for_no_queued_job_of_a_caller_with_slow_ones(
    pipeline: IsolatedPipeline,
) -> None:
    before = pipeline.counters.slow
    many = [
        asyncio.create_task(pipeline.analyse(slow(number), "many"))
        for number in range(SLOW_SCHEMAS)
    ]
    await asyncio.sleep(0.01)
    await pipeline.analyse('{"title": "one", "type": "null"}', "one")
    # Before it came only the schema that had the worker.
    assert pipeline.counters.slow - before == 1
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert all(isinstance(outcome, SchemaRefusedError) for outcome in outcomes)
    assert pipeline.counters.slow - before == SLOW_SCHEMAS


async def test_slow_schema_gets_its_full_time_while_another_worker_is_free() -> None:
    limits = SchemaLimits(quick_seconds=0.05, probe_seconds=0.3, probe_wall_seconds=120.0)
    pipeline = pipeline_with(limits, workers=2)
    await pipeline.start()
    with pytest.raises(SchemaRefusedError) as refused:
        await pipeline.analyse(slow(0))
    assert refused.value.metadata["limit"] == "probe_seconds"
    assert pipeline.counters.slow == 0
    # The second schema has the last worker, so it moves after its quick time.
    outcomes = await asyncio.gather(
        pipeline.analyse(slow(1)), pipeline.analyse(slow(2)), return_exceptions=True
    )
    assert all(isinstance(outcome, SchemaRefusedError) for outcome in outcomes)
    assert pipeline.counters.slow == 1
    await pipeline.close()


async def test_slow_schema_leaves_its_worker_where_the_other_is_kept_for_others() -> None:
    limits = SchemaLimits(quick_seconds=0.05, probe_seconds=0.3, probe_wall_seconds=120.0)
    pipeline = pipeline_with(limits, workers=2)
    await pipeline.start()
    await pipeline.analyse('{"type": "null"}', "other")
    with pytest.raises(SchemaRefusedError):
        await pipeline.analyse(slow(0), "busy")
    assert pipeline.counters.slow == 1
    await pipeline.close()


async def test_schemas_that_wait_too_long_are_refused_as_overloaded() -> None:
    limits = SchemaLimits(probe_wall_seconds=0.5, quick_seconds=0.01, probe_seconds=0.4)
    pipeline = pipeline_with(limits)
    await pipeline.start()
    outcomes = await asyncio.gather(
        *(pipeline.analyse(slow(number)) for number in range(SLOW_SCHEMAS)),
        return_exceptions=True,
    )
    await pipeline.close()
    late = [outcome for outcome in outcomes if isinstance(outcome, GenirError)]
    assert late
    assert {error.reason for error in late} == {Reason.OVERLOADED}
    assert all(error.retry_after for error in late)


async def test_wall_time_covers_both_waits_and_both_workers() -> None:
    """A schema that comes late to the worker for slow schemas has only the rest of its time."""
    pipeline = pipeline_with(
        SchemaLimits(probe_wall_seconds=3.0, probe_seconds=0.3, quick_seconds=0.02)
    )
    await pipeline.start()
    pool = pool_of(pipeline)
    quick, slow_one = await pool._quick.get(""), await pool._slow.get("")
    loop = asyncio.get_running_loop()
    # One worker becomes free after half of the time, the other never.
    loop.call_later(1.5, pool._quick.put, quick, "")
    start = loop.time()
    with pytest.raises(GenirError) as caught:
        await pipeline.analyse(slow(0))
    seconds = loop.time() - start
    pool._slow.put(slow_one, "")
    await pipeline.close()
    assert caught.value.reason is Reason.OVERLOADED
    assert pipeline.counters.slow == 1
    # With a wall time for each wait it would be more than 4.5 seconds.
    assert 2.9 < seconds < 4.0


async def test_killed_worker_is_replaced(pipeline: IsolatedPipeline) -> None:
    pool = pool_of(pipeline)
    (victim,) = [worker for worker in pool._all if worker not in pool._slow._free]
    victim.kill()
    await victim.wait()
    with pytest.raises(GenirError) as caught:
        await pipeline.analyse('{"title": "lost"}')
    assert caught.value.reason is Reason.OVERLOADED
    assert decode_reply((await pipeline.analyse('{"title": "found"}')).body)
    assert pipeline.counters.replaced == 1


async def test_workers_start_when_first_needed() -> None:
    pipeline = pipeline_with(SchemaLimits(probe_wall_seconds=120.0))
    assert not pids(pipeline)
    assert decode_reply((await pipeline.analyse("true")).body)
    # The worker for slow schemas is not needed.
    assert len(pids(pipeline)) == 1
    await pipeline.close()


async def test_worker_that_does_not_start_refuses_the_job_and_is_tried_again() -> None:
    pipeline = IsolatedPipeline(UNREADABLE, SchemaLimits(), NarrowingBounds(), workers=1)
    for _ in range(2):
        with pytest.raises(GenirError) as caught:
            await pipeline.analyse("true")
        assert caught.value.reason is Reason.OVERLOADED
    await pipeline.close()
    assert not pids(pipeline)


async def test_closed_pool_refuses_jobs_as_draining() -> None:
    pipeline = pipeline_with(SchemaLimits(probe_wall_seconds=120.0))
    waiting = asyncio.create_task(pipeline.analyse("true"))
    await asyncio.sleep(0.01)
    await pipeline.close()
    for late in (waiting, asyncio.create_task(pipeline.analyse("true"))):
        with pytest.raises(GenirError) as caught:
            await asyncio.wait_for(late, 30)
        assert caught.value.reason is Reason.DRAINING
    assert not pids(pipeline)


async def test_worker_that_does_not_start_reports_its_standard_error() -> None:
    pipeline = IsolatedPipeline(UNREADABLE, SchemaLimits(), NarrowingBounds(), workers=1)
    with pytest.raises(RuntimeError, match=r"a worker process did not start: [^$]*ValueError"):
        await pipeline.start()
    await pipeline.close()


def test_every_failure_is_refused_with_its_limit() -> None:
    limits = SchemaLimits(probe_seconds=0.5, probe_bytes=1 << 20)
    metadata = {}
    for failure in (Failure.CPU_TIME, Failure.MEMORY, Failure.STACK, Failure.CRASH):
        refusal = refusal_of(failure, limits)
        assert refusal.reason is Reason.SCHEMA_TOO_COMPLEX
        assert refusal.metadata["max"] in refusal.message
        metadata[failure] = refusal.metadata
    assert metadata == {
        Failure.CPU_TIME: {
            "pointer": "",
            "limit": "probe_seconds",
            "max": "0.5",
            "value": "more than 0.5",
        },
        Failure.MEMORY: {
            "pointer": "",
            "limit": "probe_bytes",
            "max": "1048576",
            "value": "more than 1048576",
        },
        # The value is unknown, and the stack cannot be larger than the memory.
        Failure.STACK: {"pointer": "", "limit": "worker", "max": "1048576"},
        Failure.CRASH: {"pointer": "", "limit": "worker", "max": "1048576"},
    }


class EndlessRecursion:
    def analyse(self, text: str, tightening: Tightening) -> NoReturn:
        raise RecursionError(text, tightening)


def test_recursion_error_is_refused_with_the_recursion_limit() -> None:
    reply = analyse_in_worker(cast("Pipeline", EndlessRecursion()), b"0\n{}")
    with pytest.raises(SchemaRefusedError) as refused:
        decode_reply(reply)
    limit = str(sys.getrecursionlimit())
    assert refused.value.reason is Reason.SCHEMA_TOO_COMPLEX
    assert refused.value.metadata == {
        "pointer": "",
        "limit": "recursion",
        "max": limit,
        "value": f"more than {limit}",
    }
