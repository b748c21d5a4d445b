"""Runs the schema layer over a folder of schemas: ``python -m bench.schemas DATA OUT``.

DATA holds JSON Lines files, one a data set; each line has ``id``, ``schema`` and ``tests`` (a list
of instances with ``valid``). OUT is the result as JSON; beside it, ``OUT.rows.jsonl`` keeps every
schema's own result, and a run that was interrupted goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import IO

from bench.schemas.check import InstanceChecker
from bench.schemas.report import markdown, totals
from genir_server.core.errors import GenirError
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pool import WorkerPool
from genir_server.schema.refusal import SchemaRefusedError


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemas")
    parser.add_argument("data", type=Path, help="folder of JSON Lines files, one a data set")
    parser.add_argument("out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("--tokenizer", help="model folder; bytes when it is left out")
    parser.add_argument("--datasets", nargs="*", help="only these, by the names of their files")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="schemas of each data set")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--fresh", action="store_true", help="do not go on from an earlier run")
    arguments = parser.parse_args()
    rows_path = arguments.out.with_name(arguments.out.name + ".rows.jsonl")
    if arguments.fresh:
        rows_path.unlink(missing_ok=True)
    start = time.monotonic()
    asyncio.run(_Run(arguments, rows_path).run())
    rows = [json.loads(line) for line in rows_path.read_text().splitlines()]
    result = totals(rows)
    result["wall_seconds"] = round(time.monotonic() - start, 1)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


class _Run:
    def __init__(self, arguments: argparse.Namespace, rows_path: Path) -> None:
        self._arguments = arguments
        self._rows_path = rows_path
        self._checker = InstanceChecker(arguments.tokenizer)
        self._pool = WorkerPool(
            arguments.tokenizer, SchemaLimits(), NarrowingBounds(), arguments.workers
        )

    async def run(self) -> None:
        """Does every schema that has no result yet."""
        done: set[str] = set()
        if self._rows_path.exists():
            lines = self._rows_path.read_text().splitlines()
            done = {str(json.loads(line)["id"]) for line in lines}
        await self._pool.start()
        gate = asyncio.Semaphore(self._arguments.workers + 1)
        with self._rows_path.open("a") as rows:
            async with asyncio.TaskGroup() as group:
                for path in sorted(self._arguments.data.glob("**/*.jsonl")):
                    if self._arguments.datasets and path.stem not in self._arguments.datasets:
                        continue
                    with path.open() as lines_of_set:
                        for number, line in enumerate(lines_of_set):
                            if number >= self._arguments.most:
                                break
                            case = json.loads(line)
                            if case["id"] not in done:
                                await gate.acquire()
                                task = group.create_task(self._one(path.stem, case, rows))
                                task.add_done_callback(lambda _: gate.release())
        await self._pool.close()

    async def _one(self, dataset: str, case: dict[str, object], rows: IO[str]) -> None:
        text = json.dumps(case["schema"])
        row: dict[str, object] = {"id": case["id"], "dataset": dataset, "bytes": len(text)}
        start = time.perf_counter()
        try:
            reply = json.loads(await self._pool.analyse(text))
        except SchemaRefusedError as refusal:
            reply = {"reason": refusal.reason.value, "message": refusal.message}
        except GenirError as error:
            reply = {"reason": error.reason.value, "message": error.message}
        row["wall_seconds"] = time.perf_counter() - start
        if "reason" in reply:
            row |= {"reason": reply["reason"], "message": reply["message"][:300]}
        else:
            notices = reply["notices"]
            row |= {
                "checked": [
                    [notice["keyword"], notice["detail"]]
                    for notice in notices
                    if notice["enforcement"] == "checked_after_decoding"
                ],
                "rewritten": [
                    notice["keyword"] for notice in notices if notice["enforcement"] == "rewritten"
                ],
                "seconds": reply["seconds"],
                "compile_seconds": reply["compile_seconds"],
                "worst_mask_seconds": reply["worst_mask_seconds"],
                "resident_bytes": reply["resident_bytes"],
                "min_tokens": reply["min_tokens"],
                "example": reply["minimal_instance"] is not None,
            }
            tests = case.get("tests")
            row |= self._checker.check(text, reply, tests if isinstance(tests, list) else [])
        rows.write(json.dumps(row) + "\n")
        rows.flush()


if __name__ == "__main__":
    main()
