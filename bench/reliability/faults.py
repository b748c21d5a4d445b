"""Injects faults into a real server and measures how long their detection takes."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.support.health_watch import ReadinessWatch
from bench.support.server_process import still_running
from bench.support.streams import streams
from bench.support.tiny_server import ENDLESS, NO_RETRIES
from genir import GenirError, IRClient

if TYPE_CHECKING:
    from bench.support.tiny_server import TinyServer

STREAMS = 8
DRAINED_CALLS = 50
READY_SECONDS = 600.0


def lose_engine(server: TinyServer, process: str, number: signal.Signals) -> dict[str, object]:
    """Sends a signal to an engine process while streams run. Times are seconds since the signal."""
    engine = [server.engine_process("EngineCore"), server.engine_process("Worker")]
    victim = server.engine_process(process)
    with ReadinessWatch(server.target) as watch, streams(server.target, STREAMS) as running:
        since = time.monotonic()
        victim.send_signal(number)
        off = watch.not_serving_at(since)
    with IRClient(server.target) as client:
        client.wait_ready(READY_SECONDS)
    back = time.monotonic()
    left = still_running(engine, 5)
    return {
        "process": process,
        "signal": number.name,
        "not_serving_after": round(off - since, 3),
        "last_call_ended_after": round(max(stream.ended_at for stream in running) - since, 3),
        "reasons": sorted({stream.error.reason for stream in running if stream.error}),
        "ready_again_after": round(back - since, 1),
        "processes_left": len(left),
    }


def drain(server: TinyServer) -> dict[str, object]:
    """Sends SIGTERM with calls in flight: number of lost calls, and how the server ended."""

    def call(client: IRClient) -> bool:
        try:
            client.generate("Write.", schema=ENDLESS, max_tokens=3000, schema_in_prompt="never")
        except GenirError:
            return False
        return True

    processes = server.descendants()
    with (
        IRClient(server.target, retry=NO_RETRIES, timeout=600) as client,
        ThreadPoolExecutor(DRAINED_CALLS) as threads,
    ):
        calls = [threads.submit(call, client) for _ in range(DRAINED_CALLS)]
        while client.health().activity.calls_in_flight < DRAINED_CALLS:
            time.sleep(0.02)
        since = time.monotonic()
        server.send(signal.SIGTERM)
        lost = sum(not answered.result() for answered in calls)
        finished = time.monotonic()
    code = server.wait(60)
    exited = time.monotonic()
    left = still_running(processes, 5)
    return {
        "calls": DRAINED_CALLS,
        "lost": lost,
        "exit_code": code,
        "last_answer_after": round(finished - since, 1),
        "exit_after_last_answer": round(exited - finished, 1),
        "processes_left": len(left),
    }
