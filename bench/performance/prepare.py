"""``python -m bench.performance.prepare``: time to prepare a new schema, by its size.

No engine and no server, only as many workers as a server has. Prepares one schema after the other,
each once, with a pause before each so that the worker's next child is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

from bench.performance.sized_schemas import sized_schema
from bench.support.model_folder import tokenizer_in
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.schema.analysis import decode_reply
from genir_server.schema.isolated_pipeline import IsolatedPipeline
from genir_server.schema.limits import NarrowingBounds, SchemaLimits

_SIZES = (0, 600, 2_000, 10_000, 50_000)


async def main(sizes: list[int], rounds: int, pause: float, workers: int) -> None:
    """Measures and prints a table."""
    limits = SchemaLimits()
    tokenizer = tokenizer_in(await ensure_embedded_model())
    pipeline = IsolatedPipeline(tokenizer, limits, NarrowingBounds(), workers)
    await pipeline.start()
    print("| schema bytes | by the clock, ms | processor, ms | of it compiling, ms |")
    print("|---|---|---|---|")
    for size in sizes:
        taken: list[tuple[float, float, float]] = []
        for number in range(1, rounds + 1):
            schema = sized_schema(size, number) if size else json.dumps({"title": str(number)})
            await asyncio.sleep(pause)
            began = time.perf_counter()
            result = await pipeline.analyse(schema)
            seconds = time.perf_counter() - began
            analysis = decode_reply(result.body)
            taken.append((seconds, analysis.seconds, analysis.compile_seconds))
        shown = " | ".join(
            f"{1e3 * statistics.median(column):.1f}" for column in zip(*taken, strict=True)
        )
        print(f"| {len(schema)} | {shown} |", flush=True)
    await pipeline.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.performance.prepare", description=__doc__
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="bytes; 0: smallest")
    parser.add_argument("--rounds", type=int, default=15, help="schemas of each size")
    parser.add_argument("--pause", type=float, default=0.8, help="seconds before each")
    parser.add_argument(
        "--workers", type=int, default=2, help="worker processes; with one, none is ever free"
    )
    options = parser.parse_args()
    asyncio.run(main(options.sizes, options.rounds, options.pause, options.workers))
