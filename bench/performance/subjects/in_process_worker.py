"""The child process of `in_process`: an AsyncLLM and its caller, told what to do line by line."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.performance.subjects.base import Call, EngineSetting
from bench.performance.subjects.callers import make_calls
from bench.performance.subjects.vllm_arguments import engine_config
from bench.performance.workload import Case

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

STREAM = "stream"
FINAL = "whole"
IDS = "stream of token ids"

_numbers = itertools.count()


async def main() -> None:
    """Starts the engine, says so, and makes calls until standard input ends."""
    # Lines for the harness only: whatever else prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    settings = json.loads(sys.argv[1])
    llm = _engine(EngineSetting(**{**settings, "model": Path(settings["model"])}))
    await llm.get_supported_tasks()
    answers.write('{"ready": true}\n')
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        cases = [Case.from_json(case) for case in order["cases"]]
        way = order["way"]
        load = await make_calls(
            lambda case, way=way: _call(llm, way, case),  # type: ignore[misc]
            cases,
            order["concurrency"],
            time.process_time,
        )
        answers.write(json.dumps(asdict(load)) + "\n")
    llm.shutdown()


def _engine(setting: EngineSetting) -> AsyncLLM:
    from genir_server.engine.library_preload import preload_libraries

    preload_libraries()

    from vllm.v1.engine.async_llm import AsyncLLM

    from genir_server.engine.vllm_arguments import engine_arguments

    arguments = engine_arguments(engine_config(setting), str(setting.model), on_cpu=True)
    return AsyncLLM.from_engine_args(arguments)


async def _call(llm: AsyncLLM, way: str, case: Case) -> Call:
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    params = SamplingParams(
        temperature=case.temperature,
        top_p=1.0,
        seed=case.seed,
        max_tokens=case.max_tokens,
        detokenize=way != IDS,
        output_kind=RequestOutputKind.FINAL_ONLY if way == FINAL else RequestOutputKind.DELTA,
        structured_outputs=None
        if case.schema is None
        else StructuredOutputsParams(json=case.schema),
    )
    prompt: Any = TokensPrompt(prompt_token_ids=list(case.token_ids))
    began = time.monotonic()
    first = 0.0
    texts = []
    tokens = 0
    async for output in llm.generate(prompt, params, f"bench-{next(_numbers)}"):
        first = first or time.monotonic() - began
        texts.append(output.outputs[0].text)
        tokens += len(output.outputs[0].token_ids)
    return Call(first, time.monotonic() - began, tokens, len(texts), "".join(texts))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
