"""Runs genir's schema layer over schemas, in its worker processes, as the server does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.schemas.check import InstanceChecker
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Enforcement
from genir_server.schema.analysis import Analysis, decode_reply
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.isolated_pipeline import IsolatedPipeline
from genir_server.schema.limits import NarrowingBounds, SchemaLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.schemas.corpus import Case
    from bench.schemas.rows import Row, RowsFile
    from genir_server.domain.grammar_tokenizer import GrammarTokenizer

_MAX_MESSAGE_CHARACTERS = 300
_TRIES = 3


async def measure_layer(
    cases: Iterable[Case], rows: RowsFile, tokenizer: GrammarTokenizer | None, workers: int
) -> None:
    """Prepares every schema without a row and checks its instances.

    Args:
        cases: the schemas.
        rows: receives the results.
        tokenizer: a model's; None for single bytes.
        workers: worker processes.

    """
    checker = InstanceChecker(tokenizer)
    pipeline = IsolatedPipeline(tokenizer, SchemaLimits(), NarrowingBounds(), workers)
    gate = asyncio.Semaphore(workers + 1)
    try:
        await pipeline.start()
        async with asyncio.TaskGroup() as group:
            for case in cases:
                if case.key in rows:
                    continue
                await gate.acquire()
                task = group.create_task(_one(case, pipeline, checker, rows))
                task.add_done_callback(lambda _: gate.release())
    finally:
        await pipeline.close()


async def _one(
    case: Case, pipeline: IsolatedPipeline, checker: InstanceChecker, rows: RowsFile
) -> None:
    row: Row = {"id": case.key, "dataset": case.dataset, "bytes": len(case.text)}
    start = time.perf_counter()
    try:
        analysis, resident_bytes = await _analyse(pipeline, case.text)
    except (SchemaRefusedError, GenirError) as error:
        row["wall_seconds"] = time.perf_counter() - start
        row |= {
            "reason": error.reason.value,
            "limit": error.metadata.get("limit"),
            "message": error.message[:_MAX_MESSAGE_CHARACTERS],
        }
    else:
        row["wall_seconds"] = time.perf_counter() - start
        row |= _prepared(analysis) | {"resident_bytes": resident_bytes}
        row |= checker.check(case.text, analysis, case.instances)
    rows.append(row)


async def _analyse(pipeline: IsolatedPipeline, text: str) -> tuple[Analysis, int]:
    """The analysis of a schema, and the worker's peak memory.

    Retries while the machine is busy, because that is not the schema's fault.
    """
    for left in reversed(range(_TRIES)):
        try:
            result = await pipeline.analyse(text)
        except GenirError as error:
            if not left or error.reason is not Reason.OVERLOADED:
                raise
        else:
            return decode_reply(result.body), result.resident_bytes
    raise AssertionError("the last try returns")


def _prepared(analysis: Analysis) -> Row:
    by_enforcement: dict[Enforcement, list[list[str]]] = {
        Enforcement.CHECKED_AFTER_DECODING: [],
        Enforcement.REWRITTEN: [],
    }
    for notice in analysis.notices:
        kept = by_enforcement.get(notice.enforcement)
        if kept is not None:
            kept.append([notice.keyword, notice.detail])
    return {
        "checked": by_enforcement[Enforcement.CHECKED_AFTER_DECODING],
        "rewritten": [keyword for keyword, _ in by_enforcement[Enforcement.REWRITTEN]],
        "seconds": analysis.seconds,
        "compile_seconds": analysis.compile_seconds,
        "max_mask_seconds": analysis.max_mask_seconds,
        "min_tokens": analysis.min_tokens,
        "example": analysis.minimal_instance is not None,
    }
