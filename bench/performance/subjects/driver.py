"""A driver process for each front end. It takes commands from the harness, one per line.

Callers of different front ends therefore never share an interpreter. When the harness ends, in any
way, the input of this process ends, and the front end stops.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import uvloop

from bench.performance.subjects.base import EngineSetting
from bench.performance.subjects.genir import Genir, GenirEverythingOn
from bench.performance.subjects.http import VllmHttp
from bench.performance.subjects.in_process import InProcess
from bench.performance.subjects.smg import VllmGrpc
from bench.performance.workload import Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.performance.subjects.base import FrontEnd

FRONT_ENDS: dict[str, Callable[[EngineSetting], FrontEnd]] = {
    InProcess.name: InProcess,
    Genir.name: Genir,
    GenirEverythingOn.name: GenirEverythingOn,
    VllmHttp.name: VllmHttp,
    VllmGrpc.name: VllmGrpc,
}
IDLE_SECONDS = 2.0


async def main() -> None:
    """Starts the front end named by the first argument, reports it, and runs commands."""
    # Standard output is for the harness only. Anything else printed goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    orders = os.fdopen(os.dup(0), "r")
    settings = json.loads(sys.argv[1])
    # A signal to all processes of the harness must not leave front ends behind.
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: task and task.cancel())
    front_end = FRONT_ENDS[settings.pop("front_end")](EngineSetting(**settings))
    async with AsyncExitStack() as stack:
        start = await front_end.start(stack)
        answers.write(json.dumps({"ways": front_end.ways, "start": asdict(start)}) + "\n")
        while line := await loop.run_in_executor(None, orders.readline):
            order = json.loads(line)
            try:
                answer = await _obey(front_end, order)
            except Exception as error:  # noqa: BLE001 - the harness decides what it means.
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")


async def _obey(front_end: FrontEnd, order: dict[str, Any]) -> dict[str, Any]:
    if order["do"] == "look":
        return {
            "resident_bytes": front_end.resident_bytes(),
            "idle_cpu_share": await _idle_share(front_end),
        }
    cases = [Case.from_json(case) for case in order["cases"]]
    return asdict(await front_end.load(order["way"], cases, order["concurrency"]))


async def _idle_share(front_end: FrontEnd) -> float:
    """Share of one core that all processes of an idle front end use."""
    root = front_end.process
    processes = [root, *root.children(recursive=True)]

    def used() -> float:
        times = [process.cpu_times() for process in processes if process.is_running()]
        return float(sum(each.user + each.system for each in times))

    before, began = used(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    return round((used() - before) / (time.monotonic() - began), 4)


if __name__ == "__main__":
    with suppress(asyncio.CancelledError):
        uvloop.run(main())
    # The thread that reads commands would keep the process alive.
    os._exit(0)
