"""Measures honest callers: continuous streams, new schemas, health probes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.hostile.identities import HONEST_TOKEN
from genir import AsyncIRClient, GenirError, TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAMS = 8
PAUSE_SECONDS = 0.05
FRESH_SECONDS = 0.25
CALL_SECONDS = 300.0
_PROMPT = "Describe a small function."
_KINDS = ("function", "class", "module", "method")

GUARDED_SCHEMA = {"type": "string", "enum": ["one", "two"], "pattern": "^(?!three)[a-z]+$"}
"""Look-ahead backtracks, so a worker process checks the value."""


def normal_schema(number: int) -> dict[str, object]:
    """A typical schema. Each number gives a different text."""
    return {
        "title": f"unit {number}",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 24},
            "kind": {"enum": list(_KINDS)},
            "parameters": {
                "type": "array",
                "minItems": 2,
                "maxItems": 6,
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "minLength": 1, "maxLength": 16},
                        "type": {"type": "string", "minLength": 1, "maxLength": 16},
                    },
                    "required": ["name", "type"],
                    "additionalProperties": False,
                },
            },
            "summary": {"type": "string", "minLength": 40, "maxLength": 160},
        },
        "required": ["name", "kind", "parameters", "summary"],
        "additionalProperties": False,
    }


@dataclass(slots=True)
class Experience:
    """What callers experienced during one phase. All times in seconds.

    Attributes:
        gaps: times between two deltas of one stream.
        first_texts: times from a stream's call to its first delta.
        fresh: times from a call with a new schema to its first answer.
        checks: latencies of CheckSchema with a new schema.
        guarded: latencies of whole calls whose value is checked in a worker process.
        probes: latencies of the health probes.
        finished: number of streams that completed.
        failures: reasons of calls that failed, and of probes that did not get SERVING.

    """

    gaps: list[float] = field(default_factory=list)
    first_texts: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    guarded: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    finished: int = 0
    failures: list[str] = field(default_factory=list)


class Traffic:
    """Honest callers of one server. They record into `experience`, which may be replaced.

    Args:
        target: the server's address.

    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._numbers = itertools.count()
        self.experience = Experience()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Makes calls continuously while the block runs."""
        client = AsyncIRClient(self._target, timeout=CALL_SECONDS, token=HONEST_TOKEN)
        async with client:
            tasks = [asyncio.create_task(self._stream(client, place)) for place in range(STREAMS)]
            tasks.append(asyncio.create_task(self._fresh(client)))
            tasks.append(asyncio.create_task(self._check(client)))
            tasks.append(asyncio.create_task(self._guarded(client)))
            tasks.append(asyncio.create_task(self._probe()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _stream(self, client: AsyncIRClient, place: int) -> None:
        while True:
            # Every second schema is new to the server.
            seen = place % 2 == 0
            schema = normal_schema(-place if seen else next(self._numbers))
            began = time.monotonic()
            last = None
            try:
                async with client.stream(_PROMPT, schema=schema, max_tokens=400) as events:
                    async for event in events:
                        now = time.monotonic()
                        if not isinstance(event, TextDelta):
                            continue
                        if last is None:
                            self.experience.first_texts.append(now - began)
                        else:
                            self.experience.gaps.append(now - last)
                        last = now
                self.experience.finished += 1
            except GenirError as error:
                # Random text may reach max_tokens. That is not an error.
                if error.reason != "TRUNCATED":
                    self.experience.failures.append(f"stream: {error.reason}")
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _fresh(self, client: AsyncIRClient) -> None:
        """Seconds until the server accepts a new schema."""
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            schema = normal_schema(10**6 + next(self._numbers))
            began = time.monotonic()
            try:
                async with client.stream(_PROMPT, schema=schema, max_tokens=100) as events:
                    await anext(events)
                    self.experience.fresh.append(time.monotonic() - began)
            except GenirError as error:
                self.experience.failures.append(f"fresh schema: {error.reason}")

    async def _check(self, client: AsyncIRClient) -> None:
        """Seconds to check a new schema."""
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            schema = normal_schema(2 * 10**6 + next(self._numbers))
            began = time.monotonic()
            try:
                await client.check_schema(schema)
                self.experience.checks.append(time.monotonic() - began)
            except GenirError as error:
                self.experience.failures.append(f"check: {error.reason}")

    async def _guarded(self, client: AsyncIRClient) -> None:
        """Seconds of a short call under a schema whose values a worker process checks."""
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            began = time.monotonic()
            try:
                await client.generate(_PROMPT, schema=GUARDED_SCHEMA, max_tokens=40)
                self.experience.guarded.append(time.monotonic() - began)
            except GenirError as error:
                self.experience.failures.append(f"guarded call: {error.reason}")

    async def _probe(self) -> None:
        probes = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.hostile.probes",
            self._target,
            stdout=asyncio.subprocess.PIPE,
        )
        if probes.stdout is None:
            raise AssertionError("the standard output is a pipe")
        try:
            async for line in probes.stdout:
                seconds, status = line.decode().split()
                self.experience.probes.append(float(seconds))
                if status != "SERVING":
                    self.experience.failures.append(f"probe: {status}")
        finally:
            probes.kill()
            await probes.wait()
