"""Measures TTFT without a schema, with a new schema, and with a known one."""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.performance.compare import Spread, settle, short
from bench.performance.sized_schemas import sized_schema
from bench.performance.subjects import genir, http, in_process
from bench.performance.subjects.remote import Remote
from bench.performance.workload import MAX_TOKENS, prompt_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.performance.scopes import SchemaCostScope
    from bench.performance.subjects.base import EngineSetting
    from bench.performance.workload import Case

NONE, UNSEEN, REPEATED = "no schema", "never seen before", "repeated"
_REPEATED_NUMBER = 0
_MAX_TOKENS_FREE = 8
"""About the length of a one-word answer. Only the time to the first text counts."""


@dataclass(frozen=True, slots=True)
class SchemaCost:
    """Seconds to the first text of calls made alone, and CPU time of the front end per call."""

    front_end: str
    schema: str
    size: int
    ttft: Spread
    cpu_seconds: Spread


async def measure_schema_cost(
    setting: EngineSetting, scope: SchemaCostScope, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measures each front end with prompts of the same length, each used once."""
    ways: list[tuple[Remote, str, bool]] = [
        (Remote(in_process.NAME, setting), in_process.STREAM, True),
        # genir always constrains, so the case without a schema is measured on other front ends.
        (Remote(genir.NAME, setting), genir.STREAM, False),
        (Remote(http.NAME, setting), http.STREAM, True),
    ]
    measured: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    prompts = _fresh_prompts(setting)
    unseen = itertools.count(1)
    async with AsyncExitStack() as stack:
        for front_end, _, _ in ways:
            await stack.enter_async_context(front_end)
        for number, size in itertools.product(range(scope.rounds + 1), scope.sizes):
            for front_end, way, knows_none in ways:
                await settle(front_end, short(next(prompts)))
                for kind in (NONE, UNSEEN, REPEATED) if knows_none else (UNSEEN, REPEATED):
                    schema = {
                        NONE: None,
                        UNSEEN: sized_schema(size, next(unseen), answered_in_a_word=True),
                        REPEATED: sized_schema(size, _REPEATED_NUMBER, answered_in_a_word=True),
                    }[kind]
                    case = dataclasses.replace(
                        next(prompts),
                        schema=schema,
                        max_tokens=_MAX_TOKENS_FREE if schema is None else MAX_TOKENS,
                    )
                    load = await front_end.load(way, [case], 1)
                    # The first round is a warm-up and makes the repeated schema known.
                    if number > 0:
                        measured.setdefault((front_end.name, kind, size), []).append(
                            (load.calls[0].first, load.cpu_seconds)
                        )
            say(f"schema cost: round {number} of {scope.rounds}, {size} bytes: done")
    return [
        asdict(
            SchemaCost(
                *key,
                Spread.of([first for first, _ in values]),
                Spread.of([cpu for _, cpu in values]),
            )
        )
        for key, values in measured.items()
    ]


def _fresh_prompts(setting: EngineSetting) -> Iterator[Case]:
    """Prompts with different beginnings, so that the prefix cache never hits."""
    return itertools.chain.from_iterable(
        prompt_cases(setting.model, 1, first=f"Task {number:05}. ") for number in itertools.count()
    )
