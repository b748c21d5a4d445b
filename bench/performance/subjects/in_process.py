"""`AsyncLLM.generate` in the process of its caller, without a server: the upper bound."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import psutil

from bench.performance.replay.core import install
from bench.performance.subjects.base import Call, Start
from bench.performance.subjects.callers import make_calls
from bench.performance.subjects.vllm_arguments import engine_config, environment, on_cpu

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from vllm.v1.engine.async_llm import AsyncLLM

    from bench.performance.subjects.base import EngineSetting, Load
    from bench.performance.workload import Case

NAME = "in process"
STREAM = "stream"
WHOLE = "whole"
IDS = "stream of token ids"


class InProcess:
    """AsyncLLM. CPU time and memory include those of its caller, which does almost nothing.

    Args:
        setting: its engine.
    """

    name = NAME
    ways: tuple[str, ...] = (STREAM, WHOLE, IDS)

    def __init__(self, setting: EngineSetting) -> None:
        self._setting = setting
        self._numbers = itertools.count()

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts the engine with genir's own arguments. The time includes vLLM's imports."""
        import os

        began = time.monotonic()
        os.environ.update(environment())
        if self._setting.replay_pace:
            install(self._setting.replay_pace)

        from vllm.v1.engine.async_llm import AsyncLLM

        from genir_server.engine.vllm.arguments import engine_arguments

        setting = self._setting
        arguments = engine_arguments(engine_config(setting), setting.model, on_cpu=on_cpu())
        self._llm: AsyncLLM = AsyncLLM.from_engine_args(arguments)
        stack.callback(self._llm.shutdown)
        await self._llm.get_supported_tasks()
        return Start(None, time.monotonic() - began)

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Makes the calls."""

        async def call(case: Case) -> Call:
            return await self._call(way, case)

        return await make_calls(call, cases, concurrency, time.process_time)

    def resident_bytes(self) -> int:
        """Memory of this process."""
        return int(psutil.Process().memory_info().rss)

    @property
    def process(self) -> psutil.Process:
        """This process."""
        return psutil.Process()

    async def _call(self, way: str, case: Case) -> Call:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        params = SamplingParams(
            temperature=case.temperature,
            top_p=1.0,
            seed=case.seed,
            max_tokens=case.max_tokens,
            detokenize=way != IDS,
            output_kind=RequestOutputKind.FINAL_ONLY if way == WHOLE else RequestOutputKind.DELTA,
            structured_outputs=None
            if case.schema is None
            else StructuredOutputsParams(json=case.schema),
        )
        prompt: Any = TokensPrompt(prompt_token_ids=list(case.token_ids))
        began = time.monotonic()
        first = 0.0
        texts = []
        tokens = 0
        async for output in self._llm.generate(prompt, params, f"bench-{next(self._numbers)}"):
            first = first or time.monotonic() - began
            texts.append(output.outputs[0].text)
            tokens += len(output.outputs[0].token_ids)
        return Call(first, time.monotonic() - began, tokens, len(texts), "".join(texts))
