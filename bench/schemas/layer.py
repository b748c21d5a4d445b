"""Runs genir's own schema layer over schemas, in its worker processes, as the server does."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from bench.schemas.check import InstanceChecker
from bench.schemas.report import as_dict
from genir_server.domain.errors import GenirError, Reason
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.isolation.pool import WorkerPool
from genir_server.schema.limits import NarrowingBounds, SchemaLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.schemas.corpus import Case
    from bench.schemas.rows import Row, RowsFile

_LONGEST_MESSAGE = 300
_TRIES = 3


async def measure_layer(
    cases: Iterable[Case], rows: RowsFile, tokenizer: str | None, workers: int
) -> None:
    """Prepares every schema that has no row yet and checks its instances.

    Args:
        cases: the schemas.
        rows: where the results go.
        tokenizer: model folder; None for single bytes.
        workers: worker processes.

    """
    checker = InstanceChecker(tokenizer)
    pool = WorkerPool(tokenizer, SchemaLimits(), NarrowingBounds(), workers)
    gate = asyncio.Semaphore(workers + 1)
    try:
        await pool.start()
        async with asyncio.TaskGroup() as group:
            for case in cases:
                if case.key in rows:
                    continue
                await gate.acquire()
                task = group.create_task(_one(case, pool, checker, rows))
                task.add_done_callback(lambda _: gate.release())
    finally:
        await pool.close()


async def _one(case: Case, pool: WorkerPool, checker: InstanceChecker, rows: RowsFile) -> None:
    row: Row = {"id": case.key, "dataset": case.dataset, "bytes": len(case.text)}
    start = time.perf_counter()
    reply = await _analysed(pool, case.text)
    row["wall_seconds"] = time.perf_counter() - start
    if "reason" in reply:
        row |= {
            "reason": reply["reason"],
            "limit": as_dict(reply.get("metadata")).get("limit"),
            "message": str(reply["message"])[:_LONGEST_MESSAGE],
        }
    else:
        row |= _prepared(reply) | checker.check(case.text, reply, case.instances)
    rows.append(row)


async def _analysed(pool: WorkerPool, text: str) -> Row:
    """The reply of a worker. That the machine is busy says nothing about a schema."""
    for left in reversed(range(_TRIES)):
        try:
            reply: Row = json.loads(await pool.analyse(text))
        except SchemaRefusedError as refusal:
            return {
                "reason": refusal.reason.value,
                "message": refusal.message,
                "metadata": refusal.metadata,
            }
        except GenirError as error:
            if not left or error.reason is not Reason.OVERLOADED:
                return {"reason": error.reason.value, "message": error.message}
        else:
            return reply
    raise AssertionError("the last try returns")


def _prepared(reply: Row) -> Row:
    notices = reply["notices"]
    by_enforcement: dict[str, list[list[str]]] = {"checked_after_decoding": [], "rewritten": []}
    for notice in notices if isinstance(notices, list) else []:
        kept = by_enforcement.get(notice["enforcement"])
        if kept is not None:
            kept.append([notice["keyword"], notice["detail"]])
    return {
        "checked": by_enforcement["checked_after_decoding"],
        "rewritten": [keyword for keyword, _ in by_enforcement["rewritten"]],
        "seconds": reply["seconds"],
        "compile_seconds": reply["compile_seconds"],
        "max_mask_seconds": reply["max_mask_seconds"],
        "resident_bytes": reply["resident_bytes"],
        "min_tokens": reply["min_tokens"],
        "example": reply["minimal_instance"] is not None,
    }
