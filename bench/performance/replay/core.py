"""A replay engine core behind vLLM's real AsyncLLM. A bench tool.

``python -m bench.performance.replay.core MODULE ARGUMENTS...`` runs a server's module with it:
genir, or one of vLLM's own servers. Everything in the server's process is real, detokenization
included, except the socket to the engine core and the decoding of its messages. All requests
advance together, one token a step.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import runpy
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bench.performance.replay.recording import load
from genir_server.engine.vllm.environment import prepare_environment

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest

PACE_VARIABLE = "REPLAY_CORE_TOKENS_PER_SECOND"
_CANARY = '{"intent":{"summary":"It plays recordings."}}'
_CANARY_MAX_TOKENS = 64
_MAX_TOKENS = 800
"""Maximum tokens of a recording, so that a load does not end with a single stream."""


def install(pace: float) -> None:
    """Makes every AsyncLLM of this process start with a replay engine core."""
    prepare_environment()
    from vllm.v1.engine.core_client import EngineCoreClient

    def make(vllm_config: VllmConfig, *_: object, **__: object) -> ReplayCore:
        return ReplayCore(vllm_config, pace)

    EngineCoreClient.make_async_mp_client = staticmethod(make)


@dataclass(slots=True)
class _Playing:
    ids: list[int]
    at: int = 0


class ReplayCore:
    """Implements what AsyncLLM needs of its engine core client.

    Args:
        vllm_config: has the tokenizer for the recorded texts.
        pace: tokens a second of each request.
    """

    engine_ranks_managed = (0,)

    def __init__(self, vllm_config: VllmConfig, pace: float) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(vllm_config.model_config.tokenizer)

        def ids(text: str) -> list[int]:
            return [*tokenizer.encode(text), tokenizer.eos_token_id]

        recordings = [recorded for recorded in load() if recorded.tokens <= _MAX_TOKENS]
        self._recordings = itertools.cycle([ids(recorded.text) for recorded in recordings])
        self._canary = ids(_CANARY)
        self._pause = 1 / pace
        self._next_step = 0.0
        self._playing: dict[str, _Playing] = {}
        self._work = asyncio.Event()
        self.resources = SimpleNamespace(
            engine_dead=False, engine_manager=None, ctx=SimpleNamespace(term=lambda: None)
        )

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        """It supports generation."""
        return ("generate",)

    async def call_utility_async(self, *_: object) -> str:
        """The backend of the recorded run."""
        return "guidance"

    async def add_request_async(self, request: EngineCoreRequest) -> None:
        """Starts a request."""
        params: Any = request.sampling_params
        canary = params.max_tokens == _CANARY_MAX_TOKENS
        self._playing[request.request_id] = _Playing(
            self._canary if canary else next(self._recordings)
        )
        self._work.set()

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        """Aborts requests."""
        for request_id in request_ids:
            self._playing.pop(request_id, None)

    async def get_output_async(self) -> EngineCoreOutputs:
        """The next step: a token for every request."""
        from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
        from vllm.v1.metrics.stats import SchedulerStats

        while not self._playing:
            self._work.clear()
            await self._work.wait()
        now = time.monotonic()
        self._next_step = max(self._next_step + self._pause, now)
        await asyncio.sleep(self._next_step - now)
        outputs = []
        for request_id, playing in list(self._playing.items()):
            last = playing.at == len(playing.ids) - 1
            outputs.append(
                EngineCoreOutput(
                    request_id=request_id,
                    new_token_ids=[playing.ids[playing.at]],
                    finish_reason=FinishReason.STOP if last else None,
                )
            )
            playing.at += 1
            if last:
                del self._playing[request_id]
        return EngineCoreOutputs(
            outputs=outputs,
            scheduler_stats=SchedulerStats(num_running_reqs=len(self._playing)),
            timestamp=time.monotonic(),
        )

    async def reset_mm_cache_async(self) -> None:
        """Does nothing. vLLM's HTTP server calls this at its start."""

    def shutdown(self, timeout: float | None = None) -> None:
        """Does nothing."""


if __name__ == "__main__":
    install(float(os.environ[PACE_VARIABLE]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
