"""Load at capacity and at ten times that: goodput, refusals, probes, deadlines, memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import psutil

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.support.tiny_server import TinyServer

    Load: TypeAlias = Callable[["Stub"], Awaitable[None]]

Stub: TypeAlias = Any
"""A stub on an aio channel. Its calls have other types than the generated class declares."""

CALL_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 300, "maxLength": 300}},
        "required": ["text"],
        "additionalProperties": False,
    }
)
DROPPED = "RESOURCE_EXHAUSTED in the queue"
"""Outcome of an admitted call that was dropped because it had waited too long."""

DEADLINE_SECONDS = 10.0
OVERRUN_SLACK_SECONDS = 0.25
"""Tolerance in seconds before a call counts as past its deadline. The load generator shares the
machine with the server and is sometimes late itself."""


@dataclass(slots=True)
class Phase:
    """One phase of load. Latencies in seconds, memory in bytes, goodput in OK answers a second.

    CPU time in seconds: of the server process, of its child processes, and of the callers.
    """

    seconds: float = 0.0
    calls: int = 0
    goodput: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    ok_p50: float = 0.0
    ok_p99: float = 0.0
    refusal_p50: float = 0.0
    refusal_p99: float = 0.0
    probe_p99: float = 0.0
    overruns: int = 0
    memory_before: int = 0
    memory_after: int = 0
    server_cpu: float = 0.0
    engine_cpu: float = 0.0
    callers_cpu: float = 0.0


def percentile(values: list[float], share: float) -> float:
    """Quantile of some values. 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def at_capacity(server: TinyServer, seconds: float, callers: int) -> Phase:
    """As many callers as the engine takes, each making one call after the other."""
    calls: list[tuple[str, float]] = []
    end = time.monotonic() + seconds

    async def caller(stub: Stub) -> None:
        while time.monotonic() < end:
            calls.append(await _call(stub))

    async def load(stub: Stub) -> None:
        await asyncio.gather(*(caller(stub) for _ in range(callers)))

    return await _measured(server, seconds, load, calls)


async def beyond_capacity(server: TinyServer, seconds: float, rate: float) -> Phase:
    """Makes calls at a fixed rate, independent of the outcome of earlier ones."""
    calls: list[tuple[str, float]] = []

    async def load(stub: Stub) -> None:
        began = time.monotonic()
        tasks: list[asyncio.Task[None]] = []

        async def one() -> None:
            calls.append(await _call(stub))

        while (elapsed := time.monotonic() - began) < seconds:
            tasks += [asyncio.create_task(one()) for _ in range(int(elapsed * rate) - len(tasks))]
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    return await _measured(server, seconds, load, calls)


async def _measured(
    server: TinyServer, seconds: float, load: Load, calls: list[tuple[str, float]]
) -> Phase:
    phase = Phase(memory_before=memory(server))
    server_cpu, engine_cpu, callers_cpu = _cpu_seconds(server)
    probe = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.reliability.probe",
        server.target,
        str(seconds),
        stdout=subprocess.PIPE,
    )
    began = time.monotonic()
    async with grpc.aio.insecure_channel(server.target) as channel:
        await load(ir_service_pb2_grpc.IRServiceStub(channel))
    phase.seconds = time.monotonic() - began
    output, _ = await probe.communicate()
    phase.probe_p99 = percentile(json.loads(output), 0.99)
    phase.calls = len(calls)
    phase.outcomes = dict(Counter(code for code, _ in calls))
    good = [taken for code, taken in calls if code == "OK"]
    refused = [taken for code, taken in calls if code == "RESOURCE_EXHAUSTED"]
    phase.goodput = len(good) / phase.seconds
    phase.ok_p50, phase.ok_p99 = percentile(good, 0.5), percentile(good, 0.99)
    phase.refusal_p50, phase.refusal_p99 = percentile(refused, 0.5), percentile(refused, 0.99)
    phase.overruns = sum(taken > DEADLINE_SECONDS + OVERRUN_SLACK_SECONDS for _, taken in calls)
    phase.memory_after = memory(server)
    used = _cpu_seconds(server)
    phase.server_cpu, phase.engine_cpu = used[0] - server_cpu, used[1] - engine_cpu
    phase.callers_cpu = used[2] - callers_cpu
    return phase


async def _call(stub: Stub) -> tuple[str, float]:
    request = ir_service_pb2.GenerateIRRequest(
        spec=generation_pb2.GenerationSpec(
            prompt="Write.",
            json_schema=CALL_SCHEMA,
            max_tokens=400,
            schema_in_prompt=generation_pb2.SCHEMA_IN_PROMPT_NEVER,
        )
    )
    began = time.monotonic()
    call = stub.GenerateIR(request, timeout=DEADLINE_SECONDS)
    code = (await call.code()).name
    if code == "RESOURCE_EXHAUSTED" and "the engine has room, but" in await call.details():
        code = DROPPED
    return code, time.monotonic() - began


def memory(server: TinyServer) -> int:
    """Resident bytes of the server and all of its child processes."""
    everything = [psutil.Process(server.process.pid), *server.descendants()]
    return sum(process.memory_info().rss for process in everything)


def _cpu_seconds(server: TinyServer) -> tuple[float, float, float]:
    """CPU time so far: of the server process, of its child processes, and of this process."""

    def used(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    below = sum(used(process) for process in server.descendants())
    return used(psutil.Process(server.process.pid)), below, time.process_time()
