"""A whole server process with an engine that needs no vLLM: ``python -m`` this module.

Everything but the engine is real: settings, ports, signals, schema workers, the drain.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from bench.support.server_process import ServerProcess
from genir_server.app import run
from genir_server.domain.types import FinishReason, TextDelta
from genir_server.supervision.signals import ignore_until_handled
from tests.support.scripted_engine import ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from genir_server.engine.config import EngineConfig
    from genir_server.engine.protocol import EngineRequest
    from genir_server.supervision.engine_launcher import Planned

SLOWLY = "slowly"
"""A prompt with this word makes the engine take about two seconds."""

SCHEMA = (
    '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],'
    '"additionalProperties":false}'
)
ANSWER = '{"a":1}'
CANARY_ANSWER = '{"intent":{"summary":"only a canary"}}'
START_SECONDS = 2.0


class PlainEngine(ScriptedEngine):
    """Answers the canary's schema and `SCHEMA`."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        text = CANARY_ANSWER if "summary" in request.schema else ANSWER
        pause = 0.3 if SLOWLY.encode() in bytes(request.prompt_token_ids) else 0.0
        self.open_requests += 1
        try:
            for at, letter in enumerate(text, 1):
                yield TextDelta(letter, 1, FinishReason.STOP if at == len(text) else None)
                await asyncio.sleep(pause)
        finally:
            self.open_requests -= 1


async def start_engine(_: EngineConfig, planned: Planned) -> PlainEngine:
    await planned(None)
    await asyncio.sleep(START_SECONDS)
    return PlainEngine()


class ScriptedServer(ServerProcess):
    """Such a process."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        open_files: int | None = None,
    ) -> None:
        super().__init__(
            folder,
            arguments,
            environment=environment,
            module=__name__,
            open_files=open_files,
        )


if __name__ == "__main__":
    ignore_until_handled()
    sys.exit(run(sys.argv[1:], start_engine))
