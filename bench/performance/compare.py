"""Compares front ends: each is started once, then they are measured alternately."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bench.performance.subjects.base import Load
    from bench.performance.subjects.remote import Remote
    from bench.performance.workload import Case

WARMUP_CALLS = 2
SETTLING_SECONDS = 2.0
_SHORT = '{"const":1}'


def short(case: Case) -> Case:
    """The case with a one-digit answer, which a replay engine cannot give."""
    return dataclasses.replace(case, schema=_SHORT)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, minimum and maximum over the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of some values."""
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Measured:
    """One call mode of one front end at one concurrency.

    Seconds to the first text, per further token and for a whole IR are medians over the calls of a
    round. CPU time is that of the front end's process alone.
    """

    front_end: str
    way: str
    concurrency: int
    rounds: int
    calls_a_round: int
    ttft: Spread
    tpot: Spread
    ir_seconds: Spread
    tokens_per_second: Spread
    irs_per_second: Spread
    cpu_per_1000_calls: Spread
    cpu_per_1000_tokens: Spread
    tokens_per_message: float
    valid_share: float


async def compare(
    front_ends: Sequence[Remote],
    cases: list[Case],
    *,
    concurrencies: Sequence[int],
    rounds: int,
    calls: Callable[[int], int],
    wake: Case,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measures every call mode of every front end at every concurrency, in rounds.

    Args:
        front_ends: what to compare.
        cases: the requests. Each round takes the next ones, the same for every front end.
        concurrencies: numbers of calls in flight.
        rounds: number of rounds.
        calls: number of calls in a round at one concurrency.
        wake: a call before each measurement that is not counted.
        say: called with progress messages.
    """
    starts: dict[str, Any] = {}
    loads: dict[tuple[str, str, int], list[Load]] = {}
    async with AsyncExitStack() as stack:
        for front_end in front_ends:
            began = time.monotonic()
            await stack.enter_async_context(front_end)
            for way in front_end.ways:
                await front_end.load(way, cases[:WARMUP_CALLS], WARMUP_CALLS)
            starts[front_end.name] = asdict(front_end.started) | await front_end.look()
            say(f"{front_end.name} is up after {time.monotonic() - began:.0f} s")
        turn = 0
        for number in range(rounds):
            for concurrency in concurrencies:
                batch = [
                    cases[(number + index) % len(cases)] for index in range(calls(concurrency))
                ]
                # The order affects the result, so rotate who comes first.
                order = [*front_ends[turn:], *front_ends[:turn]]
                turn = (turn + 1) % len(front_ends)
                for front_end in order:
                    await settle(front_end, wake)
                    for way in front_end.ways:
                        load = await front_end.load(way, batch, concurrency)
                        loads.setdefault((front_end.name, way, concurrency), []).append(load)
                say(f"round {number + 1} of {rounds}, {concurrency} in flight: done")
        for front_end in front_ends:
            # Measure memory again after all the work.
            starts[front_end.name] |= await front_end.look()
    return {
        "starts": starts,
        "measured": [
            asdict(_measured(*key, of_key, cases[0].schema)) for key, of_key in loads.items()
        ],
        "same_text": _same_text(loads),
    }


async def apart(
    front_ends: Sequence[Remote],
    measure: Callable[[Sequence[Remote]], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """Measures one front end after the other, and joins the results of `compare`.

    For models of which the memory holds one engine. Whatever changes in the machine meanwhile is
    part of the difference.
    """
    starts: dict[str, Any] = {}
    measured: list[Any] = []
    for front_end in front_ends:
        alone = await measure([front_end])
        starts |= alone["starts"]
        measured += alone["measured"]
    return {"starts": starts, "measured": measured, "same_text": {}}


async def settle(front_end: Remote, wake: Case) -> None:
    """Waits until the previous engine has stopped spinning, and wakes this one.

    An engine's processes keep polling for work for about a second, on the cores that the next one
    needs.
    """
    await asyncio.sleep(SETTLING_SECONDS)
    await front_end.load(front_end.ways[0], [wake], 1)


def _measured(
    front_end: str, way: str, concurrency: int, loads: list[Load], schema: str | None
) -> Measured:
    def spread(value: Callable[[Load], float]) -> Spread:
        return Spread.of([value(load) for load in loads])

    def tokens(load: Load) -> int:
        return sum(call.tokens for call in load.calls)

    calls = [call for load in loads for call in load.calls]
    texts = [call.text for call in calls if call.text]
    return Measured(
        front_end,
        way,
        concurrency,
        rounds=len(loads),
        calls_a_round=len(loads[0].calls),
        ttft=spread(lambda load: statistics.median(call.first for call in load.calls)),
        tpot=spread(
            lambda load: statistics.median(
                (call.total - call.first) / max(call.tokens - 1, 1) for call in load.calls
            )
        ),
        ir_seconds=spread(lambda load: statistics.median(call.total for call in load.calls)),
        tokens_per_second=spread(lambda load: tokens(load) / load.seconds),
        irs_per_second=spread(lambda load: len(load.calls) / load.seconds),
        cpu_per_1000_calls=spread(lambda load: 1000 * load.cpu_seconds / len(load.calls)),
        cpu_per_1000_tokens=spread(lambda load: 1000 * load.cpu_seconds / tokens(load)),
        tokens_per_message=round(
            sum(call.tokens for call in calls) / sum(call.messages for call in calls), 2
        ),
        valid_share=_valid_share(texts, schema),
    )


def _valid_share(texts: list[str], schema: str | None) -> float:
    """Share of texts that are valid against the schema. 1 if there is nothing to check."""
    if not texts or schema is None:
        return 1.0
    validator = jsonschema_rs.validator_for(json.loads(schema))
    return sum(_is_valid(text, validator) for text in texts) / len(texts)


def _is_valid(text: str, validator: Any) -> bool:  # noqa: ANN401 - one of several classes.
    try:
        return bool(validator.is_valid(json.loads(text)))
    except ValueError:
        return False


def _same_text(loads: dict[tuple[str, str, int], list[Load]]) -> dict[str, float]:
    """Share of calls made alone whose value equals the most common one.

    Batched calls are left out, because the batch shape changes the arithmetic and so the texts.
    """
    alone = {
        f"{name}, {way}": [_value(call.text) for load in rounds for call in load.calls]
        for (name, way, concurrency), rounds in loads.items()
        if concurrency == 1 and any(call.text for load in rounds for call in load.calls)
    }
    usual = [statistics.mode(values) for values in zip(*alone.values(), strict=True)]
    return {
        name: sum(value == each for value, each in zip(values, usual, strict=True)) / len(values)
        for name, values in alone.items()
    }


def _value(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text
