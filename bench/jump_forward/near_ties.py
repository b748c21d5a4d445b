"""``python -m bench.jump_forward.near_ties``: the gap where bfloat16 texts first differ.

Checking several tokens in one step changes the shape of the matrix products, and with it the last
bits of the logits. Where two tokens are almost equally likely, this decides which one is taken, and
the texts differ from there on. Here both engines write the same requests at temperature 0. For each
text that differs, the log probabilities (among what the grammar allows) of the two tokens at its
first difference are compared: the one that stock vLLM took and the one that jump-forward took. The
same for stock vLLM with requests alone and in a batch, which differs for the same reason.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.generation.__main__ import PROMPTS
from genir.schemas import builtin_ir_schema_text
from genir_server.domain.types import Message, Role
from genir_server.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.engine.vllm.engine import VllmEngine

_MAX_TOKENS = 250
_LIKELIEST = 20


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens of an answer, and log probabilities of the most likely ones at each position."""

    tokens: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]


def gap(one: Written, other: Written) -> float | None:
    """Log probability gap, in nats, between `one` and `other` at their first difference.

    Uses the figures of `one` if they have both tokens. None if the answers are equal, or one is a
    prefix of the other.
    """
    for place, (mine, theirs) in enumerate(zip(one.tokens, other.tokens, strict=False)):
        if mine != theirs:
            here = one.logprobs[place]
            known = here if theirs in here else other.logprobs[place]
            return here[mine] - known[theirs]
    return None


async def main(options: argparse.Namespace) -> None:
    """Measures and prints a table."""
    from genir_server.engine.vllm.start import start_vllm_engine

    config = EngineConfig(jump_forward="on", engine_args={"dtype": options.dtype})
    stock = await start_vllm_engine(replace(config, jump_forward="off"))
    jump = await start_vllm_engine(config)
    if not jump.info.jump_forward:
        raise SystemExit("jump-forward is off, see the log for the reason")
    try:
        alone = await _written(stock, options.tasks, 1)
        print("| at once | compared | texts that differ | gap, nats: median | max |")
        print("|---|---|---|---|---|")
        for at_once in options.at_once:
            batched = alone if at_once == 1 else await _written(stock, options.tasks, at_once)
            jumped = await _written(jump, options.tasks, at_once)
            _print(at_once, "jump-forward with stock", batched, jumped)
            if at_once > 1:
                _print(at_once, "stock with stock alone", batched, alone)
    finally:
        await stock.shutdown()
        await jump.shutdown()


def _print(at_once: int, name: str, ones: Sequence[Written], others: Sequence[Written]) -> None:
    gaps = [
        found
        for one, other in zip(ones, others, strict=True)
        if (found := gap(one, other)) is not None
    ]
    middle, most = (f"{statistics.median(gaps):.3f}", f"{max(gaps):.3f}") if gaps else ("", "")
    print(f"| {at_once} | {name} | {len(gaps)}/{len(ones)} | {middle} | {most} |", flush=True)


async def _written(engine: VllmEngine, tasks: int, at_once: int) -> list[Written]:
    places = asyncio.Semaphore(at_once)
    lines = PROMPTS.read_text().splitlines()

    async def answer(number: int) -> Written:
        prompt = await engine.render_chat([Message(Role.USER, lines[number % len(lines)])])
        async with places:
            return await _answer(engine, prompt)

    return list(await asyncio.gather(*map(answer, range(tasks))))


async def _answer(engine: VllmEngine, prompt: list[int]) -> Written:
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    # genir's engine protocol has no log probabilities.
    llm: Any = engine._llm  # noqa: SLF001
    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=_MAX_TOKENS,
        logprobs=_LIKELIEST,
        structured_outputs=StructuredOutputsParams(json=builtin_ir_schema_text()),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    async for output in llm.generate(
        TokensPrompt(prompt_token_ids=prompt), sampling, f"near-ties-{time.monotonic_ns()}"
    ):
        completion = output.outputs[0]
    return Written(
        tuple(completion.token_ids),
        tuple(
            {token: entry.logprob for token, entry in place.items()}
            for place in completion.logprobs
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.jump_forward.near_ties", description=__doc__
    )
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--at-once", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--tasks", type=int, default=16)
    asyncio.run(main(parser.parse_args()))
