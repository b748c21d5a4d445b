"""Measures jump-forward side by side with vLLM as it is, in process, on the embedded model.

``python -m bench.jump_forward --out results.json`` starts three engines and alternates between
them: stock vLLM, jump-forward without prompt lookup, and jump-forward by default. For each number
of requests at once, each engine answers the same prompts under the same schemas ``--rounds``
times, in an order that is reversed each round. The first round is a warm-up and is not counted.
Reported are the ratio of tokens/s (median and range over the rounds), engine steps per token, the
share of tokens that were forced and of those that cost no step, and how many texts were identical.
Steps and shares are exact. Tokens/s are only meaningful on an otherwise idle machine.

``--dtype float32 --schemas varied --at-once 1`` checks exactness: every text has to be identical.
In bfloat16 texts differ, because the batch shape changes the arithmetic. Two rounds of one engine
differ as well: see the column "stock against itself".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.generation.__main__ import PROMPTS
from bench.jump_forward.schemas import SCHEMAS
from bench.performance.compare import SETTLING_SECONDS
from genir.schemas import builtin_ir_schema_text
from genir_server.domain.types import Message, Role, Sampling
from genir_server.engine.config import EngineConfig
from genir_server.engine.embedded_model import embedded_dtype
from genir_server.engine.protocol import EngineRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.engine.vllm.engine import VllmEngine

AT_ONCE = (1, 2, 4, 8, 16, 32)
MAX_TOKENS = 250
_STOCK = "stock"
_MIN_TASKS = 4
"""Minimum number of requests in a round."""


@dataclass(frozen=True, slots=True)
class Task:
    """One request: its prompt and its schema's text."""

    prompt: str
    schema: str


@dataclass(frozen=True, slots=True)
class Round:
    """All tasks once through one engine."""

    seconds: float
    tokens: int
    texts: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Tokens per second, of all requests together."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Comparison:
    """An engine with jump-forward beside stock vLLM. Ratios are jump-forward / stock."""

    engine: str
    at_once: int
    tokens: int
    stock_tokens_per_second: float
    jump_tokens_per_second: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    steps_per_token: float
    forced_share: float
    forced_saved_share: float
    accepted_share: float
    lookup_drafted: int
    lookup_accepted_share: float
    identical: int
    stock_against_itself: int
    texts: int


def main() -> int:
    """Measures and prints a table; gives 1 if float32 texts differ at temperature 0.

    The file is rewritten after each number of requests at once.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    parser.add_argument("--at-once", type=int, nargs="+", default=AT_ONCE, help="requests at once")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds")
    parser.add_argument(
        "--tasks",
        type=int,
        help="requests in a round; by default as many as at once, but at least "
        f"{_MIN_TASKS}, and one for every schema",
    )
    parser.add_argument(
        "--dtype", default=embedded_dtype(), choices=("auto", "bfloat16", "float32")
    )
    parser.add_argument(
        "--schemas", default="ir", choices=("ir", "varied"), help="the built-in one, or many shapes"
    )
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    results = asyncio.run(_measure(options))
    print(_table(results))
    differ = any(result.identical < result.texts for result in results)
    return int(options.dtype == "float32" and options.temperature == 0.0 and differ)


def _write(options: argparse.Namespace, results: Sequence[Comparison]) -> None:
    report = {
        "dtype": options.dtype,
        "schemas": options.schemas,
        "temperature": options.temperature,
        "rounds": options.rounds,
        "comparisons": [asdict(result) for result in results],
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


def _tasks(options: argparse.Namespace, at_once: int) -> list[Task]:
    prompts = PROMPTS.read_text().splitlines()
    schemas = (
        [builtin_ir_schema_text()]
        if options.schemas == "ir"
        else [json.dumps(schema) for schema in SCHEMAS.values()]
    )
    return [
        Task(prompts[number % len(prompts)], schemas[number % len(schemas)])
        for number in range(options.tasks or max(_MIN_TASKS, at_once, len(schemas)))
    ]


async def _measure(options: argparse.Namespace) -> list[Comparison]:
    from genir_server.engine.vllm.start import start_vllm_engine

    config = EngineConfig(jump_forward="off", engine_args={"dtype": options.dtype})
    wanted = {
        _STOCK: config,
        "without prompt lookup": replace(config, jump_forward="on", prompt_lookup=False),
        "default": replace(config, jump_forward="on"),
    }
    results: list[Comparison] = []
    engines: dict[str, VllmEngine] = {}
    try:
        for name, settings in wanted.items():
            engines[name] = await start_vllm_engine(settings)
            if name != _STOCK and not engines[name].info.jump_forward:
                raise SystemExit("jump-forward is off, see the log for the reason")
        for number in options.at_once:
            compared = await _compare(engines, _tasks(options, number), number, options)
            print(_table(compared), file=sys.stderr, flush=True)
            results += compared
            if options.out:
                _write(options, results)
    finally:
        for engine in engines.values():
            await engine.shutdown()
    return results


async def _compare(
    engines: dict[str, VllmEngine], tasks: list[Task], at_once: int, options: argparse.Namespace
) -> list[Comparison]:
    with_drafts = {name: engine for name, engine in engines.items() if name != _STOCK}
    before: dict[str, dict[str, int]] = {}
    done: dict[str, list[Round]] = {name: [] for name in engines}
    for number in range(options.rounds + 1):
        if number == 1:
            before = {
                name: await engine.jump_forward_counts() for name, engine in with_drafts.items()
            }
        names = list(engines) if number % 2 else list(reversed(engines))
        for name in names:
            await asyncio.sleep(SETTLING_SECONDS)
            done[name].append(await _round(engines[name], tasks, at_once, options.temperature))
    compared = []
    for name, engine in with_drafts.items():
        after = await engine.jump_forward_counts()
        counts = {key: after[key] - before[name][key] for key in after}
        compared.append(_comparison(name, at_once, done[_STOCK], done[name], counts))
    return compared


def _comparison(
    name: str,
    at_once: int,
    stock_rounds: list[Round],
    jump_rounds: list[Round],
    counts: dict[str, int],
) -> Comparison:
    ratios = [j.rate / s.rate for j, s in zip(jump_rounds[1:], stock_rounds[1:], strict=True)]
    return Comparison(
        engine=name,
        at_once=at_once,
        tokens=sum(done.tokens for done in jump_rounds[1:]),
        stock_tokens_per_second=round(statistics.median(done.rate for done in stock_rounds[1:]), 1),
        jump_tokens_per_second=round(statistics.median(done.rate for done in jump_rounds[1:]), 1),
        ratio=round(statistics.median(ratios), 3),
        lowest_ratio=round(min(ratios), 3),
        highest_ratio=round(max(ratios), 3),
        steps_per_token=round(counts["steps"] / counts["tokens"], 4),
        forced_share=round(counts["forced"] / counts["tokens"], 4),
        forced_saved_share=round(counts["forced_saved"] / counts["forced"], 4),
        accepted_share=round(counts["accepted"] / max(1, counts["drafted"]), 4),
        lookup_drafted=counts["lookup_drafted"],
        lookup_accepted_share=round(
            counts["lookup_accepted"] / max(1, counts["lookup_drafted"]), 4
        ),
        identical=_same(stock_rounds[-1], jump_rounds[-1]),
        stock_against_itself=_same(stock_rounds[0], stock_rounds[-1]),
        texts=len(jump_rounds[-1].texts),
    )


def _same(one: Round, other: Round) -> int:
    return sum(a == b for a, b in zip(one.texts, other.texts, strict=True))


async def _round(engine: VllmEngine, tasks: list[Task], at_once: int, temperature: float) -> Round:
    places = asyncio.Semaphore(at_once)

    async def answer(number: int, task: Task) -> tuple[str, int]:
        prompt = await engine.render_chat([Message(Role.USER, task.prompt)])
        wanted = EngineRequest(
            f"bench-{number}-{time.monotonic_ns()}",
            prompt,
            task.schema,
            Sampling(temperature=temperature),
            max_tokens=MAX_TOKENS,
        )
        text, tokens = "", 0
        async with places:
            async for delta in engine.generate(wanted):
                text += delta.text
                tokens += delta.token_count
        return text, tokens

    began = time.monotonic()
    done = await asyncio.gather(*(answer(number, task) for number, task in enumerate(tasks)))
    seconds = time.monotonic() - began
    return Round(seconds, sum(tokens for _, tokens in done), tuple(text for text, _ in done))


def _table(results: Sequence[Comparison]) -> str:
    columns = (
        *("engine", "at once", "stock tok/s", "tok/s", "ratio (range)", "steps/token", "forced"),
        *("forced saved", "drafts accepted", "prompt lookup", "identical", "stock against itself"),
    )
    rows = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    rows += [
        f"| {r.engine} | {r.at_once} | {r.stock_tokens_per_second} | {r.jump_tokens_per_second} "
        f"| {r.ratio:.2f} ({r.lowest_ratio:.2f} to {r.highest_ratio:.2f}) "
        f"| {r.steps_per_token:.3f} | {r.forced_share:.0%} | {r.forced_saved_share:.1%} "
        f"| {r.accepted_share:.1%} | {r.lookup_drafted} ({r.lookup_accepted_share:.0%} accepted) "
        f"| {r.identical}/{r.texts} | {r.stock_against_itself}/{r.texts} |"
        for r in results
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
