"""Measures how many streams the front end carries on one core.

Run it as ``python -m bench.performance.replay``.
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from bench.performance.replay.load import keep_streaming, summarize
from bench.performance.replay.server import PACE_VARIABLE
from bench.performance.server import genir_server
from genir import IRClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.performance.scopes import ReplayScope

SERVER_CORE = "0"
READY_SECONDS = 120.0
SETTLING_SECONDS = 1.5
"""Streams start within a second. Messages before this time are not counted."""


@dataclass(frozen=True, slots=True)
class Carried:
    """One measurement. `pace` is None where tokens come as fast as they are requested.

    `offered` is the tokens per second of all streams together. `cpu_share` is the share of its core
    that the server used, `client_share` the caller's share of another core. `capacity` is tokens
    per second of server CPU time. Gaps are between two messages of a stream.
    """

    streams: int
    pace: float | None
    tokens_per_delta: int
    offered: float | None
    tokens_per_second: float
    messages_per_second: float
    capacity: float
    cpu_share: float
    client_share: float
    gap_p50: float
    gap_p99: float


def sweep(scope: ReplayScope, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures every number of streams at the scope's pace, and then at full speed."""
    results = []
    for tokens_per_delta in scope.tokens_per_delta:
        for streams, pace in [
            *((each, scope.pace) for each in scope.streams),
            (scope.fastest, None),
        ]:
            carried = carry(streams, pace, tokens_per_delta, scope.seconds)
            say(
                f"replay: {streams} streams, {tokens_per_delta} tokens a message: "
                f"{carried.tokens_per_second:.0f} tokens/s"
            )
            results.append(asdict(carried))
    return results


def carry(
    streams: int,
    pace: float | None,
    tokens_per_delta: int,
    seconds: float,
    *,
    beside: Callable[[str], AbstractContextManager[None]] | None = None,
) -> Carried:
    """Runs one load against a new server. The server is bound to one core, the caller to others.

    `beside` takes the server's address and runs additional load meanwhile.
    """
    cores = sorted(os.sched_getaffinity(0))
    others = set(cores) - {int(SERVER_CORE)} or set(cores)
    os.sched_setaffinity(0, others)
    try:
        with genir_server(
            (
                *("--max-concurrent-calls", str(streams + 8)),
                # All streams come from one host.
                *("--max-calls-per-caller", str(streams + 8)),
                *("--schema-workers", "1"),
            ),
            module=("-m", "bench.performance.replay.server"),
            environment={PACE_VARIABLE: str(pace)} if pace else {},
            prefix=("taskset", "-c", SERVER_CORE),
        ) as server:
            with IRClient(server.target) as client:
                client.wait_ready(READY_SECONDS)
            cpu, own, began = server.cpu_seconds(), time.process_time(), time.monotonic()
            with beside(server.target) if beside else nullcontext():
                logs = uvloop.run(keep_streaming(server.target, streams, seconds, tokens_per_delta))
            passed = time.monotonic() - began
            cpu, own = server.cpu_seconds() - cpu, time.process_time() - own
    finally:
        os.sched_setaffinity(0, set(cores))
    all_tokens, _, _ = summarize(logs, began, began + passed)
    tokens, messages, gaps = summarize(logs, began + SETTLING_SECONDS, began + seconds)
    counted = seconds - SETTLING_SECONDS
    gaps.sort()
    return Carried(
        streams,
        pace,
        tokens_per_delta,
        offered=pace * streams if pace else None,
        tokens_per_second=tokens / counted,
        messages_per_second=messages / counted,
        capacity=all_tokens / cpu,
        cpu_share=cpu / passed,
        client_share=own / passed,
        gap_p50=statistics.median(gaps),
        gap_p99=gaps[int(0.99 * (len(gaps) - 1))],
    )
