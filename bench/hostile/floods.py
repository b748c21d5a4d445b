"""Attacks by many calls of one kind at once, rather than by one schema."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.hostile.attack import Hit
from bench.hostile.cases import OK, borne
from bench.hostile.identities import ATTACKERS_TOKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.hostile.attack import Attacker
    from bench.hostile.cases import Case

CALL_LIMITS = frozenset({"OVERLOADED"})
SECONDS = 10.0
SLOW_VALUES = 24
BOMBS = 200
LARGE_MESSAGES = 300
MORE_CONNECTIONS_THAN_ALLOWED = 1_200
_BOMB_REFUSALS = frozenset({"RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "INVALID_ARGUMENT"})


@dataclass(frozen=True, slots=True)
class Flood:
    """An attack by many calls.

    Attributes:
        name: name of the phase.
        run: makes the calls and returns their outcomes.

    """

    name: str
    run: Callable[[Attacker], Awaitable[list[Hit]]]


def slow_value(number: int) -> Case:
    """A value of 20 fractions, each compared with 9,000 others: half a second of verification."""
    schema = {
        "title": str(number),
        "type": "array",
        "minItems": 20,
        "maxItems": 20,
        "items": {"enum": [100.5 + index for index in range(9_000)]},
    }
    return borne(f"slow value {number}", "the verifier", schema, max_tokens=300)


def large_pattern(number: int) -> Case:
    """A regular expression that takes a megabyte or more when it is compiled."""
    schema = {"type": "string", "pattern": f"^\\p{{L}}{{1,22}}x{number}"}
    return borne(f"large pattern {number}", "the cache", schema)


def _checked(number: int) -> Case:
    schema = {"title": f"check {number}", "type": "object", "properties": {"a": {"const": number}}}
    return borne(f"check {number}", "the schema workers", schema)


def _urgent(number: int) -> Case:
    schema = {"title": f"urgent {number}", "type": "string", "minLength": 60, "maxLength": 80}
    case = borne(f"urgent call {number}", "the queue", schema)
    return replace(case, priority=-1_000)


async def _slow_values(attacker: Attacker) -> list[Hit]:
    cases = [slow_value(number) for number in range(SLOW_VALUES)]
    return await attacker.volley(cases, 8, also=CALL_LIMITS)


async def _large_patterns(attacker: Attacker) -> list[Hit]:
    return await _all_the_time(
        8, lambda number: attacker.check(large_pattern(number), also=CALL_LIMITS), max_calls=1_000
    )


async def _urgent_calls(attacker: Attacker) -> list[Hit]:
    return await _all_the_time(12, lambda number: attacker.hit(_urgent(number), also=CALL_LIMITS))


async def _checks(attacker: Attacker) -> list[Hit]:
    return await _all_the_time(
        70, lambda number: attacker.check(_checked(number), also=CALL_LIMITS)
    )


async def _warm_ups(attacker: Attacker) -> list[Hit]:
    def warm_up(number: int) -> Awaitable[Hit]:
        schemas = [_checked(1_000_000 + 64 * number + each).text for each in range(64)]
        return attacker.warm_up(f"warm-up {number}", schemas, also=CALL_LIMITS)

    return await _all_the_time(70, warm_up)


async def _cancelled_calls(attacker: Attacker) -> list[Hit]:
    """Calls that are given up while their schema is prepared or their value is checked."""

    async def give_up(number: int) -> Hit:
        case = slow_value(100_000 + number % 4)
        task = asyncio.create_task(attacker.hit(case, also=CALL_LIMITS))
        done, _ = await asyncio.wait({task}, timeout=0.02 + 0.05 * (number % 20))
        if not done:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return task.result() if done else _hit(case.name)

    return await _all_the_time(16, give_up)


async def _compressed_bombs(attacker: Attacker) -> list[Hit]:
    return await _bombs(attacker, "compressed", BOMBS)


async def _many_fields(attacker: Attacker) -> list[Hit]:
    return await _bombs(attacker, "fields", LARGE_MESSAGES)


async def _long_texts(attacker: Attacker) -> list[Hit]:
    return await _bombs(attacker, "text", LARGE_MESSAGES)


async def _bombs(attacker: Attacker, kind: str, count: int) -> list[Hit]:
    """Messages of a kind that `bombs` sends."""
    arguments = (kind, attacker.target, ATTACKERS_TOKEN, str(count))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.hostile.bombs", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    codes = output.decode().split()
    return [
        _hit(f"{kind} {number}", code, documented=code in _BOMB_REFUSALS)
        for number, code in enumerate(codes)
    ]


async def _connections(attacker: Attacker) -> list[Hit]:
    """More connections than the server allows, held open."""
    host, _, port = attacker.target.rpartition(":")
    writers: list[asyncio.StreamWriter] = []
    for _ in range(MORE_CONNECTIONS_THAN_ALLOWED):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
    await asyncio.sleep(SECONDS / 2)
    for writer in writers:
        writer.close()
    return [_hit(f"{len(writers)} connections")]


def _hit(name: str, reason: str = OK, *, documented: bool = True) -> Hit:
    return Hit(name, reason, "", 0.0, 0.0, documented=documented, message="")


async def _all_the_time(
    at_once: int, one: Callable[[int], Awaitable[Hit]], *, max_calls: int | None = None
) -> list[Hit]:
    """Keeps so many calls in flight for some seconds, or until so many were made."""
    hits: list[Hit] = []
    end = time.monotonic() + SECONDS
    numbers = iter(range(max_calls if max_calls is not None else 10**9))

    async def repeat() -> None:
        for number in numbers:
            if max_calls is None and time.monotonic() > end:
                return
            hits.append(await one(number))

    await asyncio.gather(*(repeat() for _ in range(at_once)))
    return hits


FLOODS = (
    Flood("values that are slow to check", _slow_values),
    Flood("large patterns", _large_patterns),
    Flood("urgent calls", _urgent_calls),
    Flood("schema checks", _checks),
    Flood("warm-ups", _warm_ups),
    Flood("cancelled calls", _cancelled_calls),
    Flood("compressed bombs", _compressed_bombs),
    Flood("messages of many fields", _many_fields),
    Flood("messages of one long text", _long_texts),
    Flood("connections", _connections),
)
"""Every attack by many calls."""
