"""``python -m bench.performance.start``: time from start to ready, each front end alone.

In process: from before vLLM is imported until the engine answers. genir: from starting the process
until readiness is SERVING, which follows a first generation.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from bench.performance.compare import Spread
from bench.performance.subjects import genir, http, in_process
from bench.performance.subjects.base import EngineSetting
from bench.performance.subjects.remote import Remote
from genir_server.engine.config import EMBEDDED_MODEL_NAME
from genir_server.engine.embedded_model import embedded_dtype, ensure_embedded_model

if TYPE_CHECKING:
    from bench.performance.subjects.base import Start

_REST_SECONDS = 5.0
_FRONT_ENDS = (in_process.NAME, genir.NAME, http.NAME)


async def main(rounds: int, front_ends: list[str]) -> None:
    """Measures and prints a table. The first round fills caches and is not counted."""
    setting = EngineSetting(
        str(await ensure_embedded_model()), EMBEDDED_MODEL_NAME, dtype=embedded_dtype()
    )
    starts: dict[str, list[Start]] = {name: [] for name in front_ends}
    for number in range(rounds + 1):
        for name in front_ends:
            await asyncio.sleep(_REST_SECONDS)
            async with Remote(name, setting) as front_end:
                if number:
                    starts[name].append(front_end.started)
    print("| front end | live s | ready s | of in process |")
    print("|---|---|---|---|")
    bare = Spread.of([start.ready for start in starts[front_ends[0]]])
    for name, seen in starts.items():
        live = [start.live for start in seen if start.live is not None]
        ready = Spread.of([start.ready for start in seen])
        print(
            f"| {name} | {f'{Spread.of(live).median:.1f}' if live else ''} | {ready.median:.1f}"
            f" ({ready.low:.1f} to {ready.high:.1f}) | {ready.median / bare.median:.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.performance.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--front-ends", nargs="+", choices=_FRONT_ENDS, default=_FRONT_ENDS)
    options = parser.parse_args()
    asyncio.run(main(options.rounds, list(options.front_ends)))
