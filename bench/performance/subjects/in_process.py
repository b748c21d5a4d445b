"""`AsyncLLM.generate` in a process of its own, without any server: the limit."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from bench.performance.subjects.base import Call, Load, Start
from bench.performance.subjects.in_process_worker import FINAL, IDS, STREAM
from bench.performance.subjects.vllm_arguments import ENVIRONMENT

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from bench.performance.subjects.base import EngineSetting
    from bench.performance.workload import Case

_LONGEST_LINE = 1 << 26


class InProcess:
    """AsyncLLM in a child process that is told over a pipe what to generate."""

    name = "in process"
    ways: tuple[str, ...] = (STREAM, FINAL, IDS)

    def __init__(self, setting: EngineSetting) -> None:
        self._setting = setting

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts the process and waits until its engine is up."""
        import os

        setting = self._setting
        settings = {
            "model": str(setting.model),
            "served_name": setting.served_name,
            "backend": setting.backend,
            "max_model_len": setting.max_model_len,
        }
        began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.performance.subjects.in_process_worker", json.dumps(settings)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        stack.push_async_callback(self._stop)
        await self._answer()
        return Start(None, time.monotonic() - began)

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Has the calls made over there, where the time is taken too."""
        if self._process.stdin is None:
            raise BrokenPipeError
        order = {
            "way": way,
            "concurrency": concurrency,
            "cases": [case.to_json() for case in cases],
        }
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._answer()
        calls = tuple(Call(**call) for call in answer.pop("calls"))
        return Load(**answer, calls=calls)

    def resident_bytes(self) -> int:
        """Memory of the process, the caller's part of it included."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    @property
    def process_group(self) -> int:
        """The child's own."""
        return self._process.pid

    async def _answer(self) -> Any:  # noqa: ANN401 - JSON.
        if self._process.stdout is None:
            raise BrokenPipeError
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("AsyncLLM's process ended")
        return json.loads(line)

    async def _stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
