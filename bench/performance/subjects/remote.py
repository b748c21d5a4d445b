"""The harness side of a front end in another process. See `driver`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from bench.performance.subjects.base import READY_SECONDS, Call, Load, Start

if TYPE_CHECKING:
    from types import TracebackType

    from bench.performance.subjects.base import EngineSetting
    from bench.performance.workload import Case

_MAX_LINE_BYTES = 1 << 26


class FrontEndError(Exception):
    """A front end could not be started, or a command failed."""


class Remote:
    """A front end in another process. Use it in ``async with``. Entering starts it.

    Args:
        name: one of `driver.FRONT_ENDS`.
        setting: its engine.
    """

    def __init__(self, name: str, setting: EngineSetting) -> None:
        self.name = name
        self.ways: tuple[str, ...] = ()
        self.started = Start(None, float("nan"))
        self._setting = setting
        # One command at a time, because several callers may send theirs.
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        settings = asdict(self._setting) | {"front_end": self.name}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.performance.subjects.driver", json.dumps(settings)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE_BYTES,
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                answer = await self._answer()
        except BaseException:
            await self._stop()
            raise
        self.ways = tuple(answer["ways"])
        self.started = Start(**answer["start"])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Makes calls, `concurrency` at a time. The other process takes the times.

        Raises:
            FrontEndError: a call failed.
        """
        answer = await self._order(
            do="load",
            way=way,
            concurrency=concurrency,
            cases=[case.to_json() for case in cases],
        )
        calls = tuple(Call(**call) for call in answer.pop("calls"))
        return Load(**answer, calls=calls)

    async def look(self) -> dict[str, float]:
        """Memory of the front end's process, and its CPU share while idle."""
        looked: dict[str, float] = await self._order(do="look")
        return looked

    async def _order(self, **order: object) -> Any:  # noqa: ANN401 - JSON.
        async with self._lock:
            if self._process.stdin is None:
                raise BrokenPipeError
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
            return await self._answer()

    async def _answer(self) -> Any:  # noqa: ANN401 - JSON.
        if self._process.stdout is None:
            raise BrokenPipeError
        line = await self._process.stdout.readline()
        if not line:
            raise FrontEndError(f"{self.name}: its process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise FrontEndError(f"{self.name}: {answer['error']}")
        return answer

    async def _stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
