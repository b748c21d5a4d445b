"""Hostile schemas against a real server while eight streams run; `make hostile` sends them all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bench.hostile.attack import Attacker
from bench.hostile.catalogue import CASES
from bench.hostile.processes import observe
from bench.hostile.traffic import Experience, Traffic
from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

# Generous: the machine may be busy, and what is asserted is that nothing takes minutes.
DECIDED_SECONDS = 45.0
STALL_SECONDS = 30.0
MOST_GROWTH = 512.0

WORST = (
    "nested 100,000 deep",
    "1,100 references in a chain",
    "2^30 laughs",
    "a divisor of 9,999,991",
    "six divisors that meet",
    "a repetition of 100,000",
    "400 patternProperties",
    "10,000 objects as values",
    "oneOf of 2,000 overlapping objects",
    "9,000 required names",
    "the engine's own options",
    "back-references that go back",
    "24 levels that double, allOf",
    "a tree that never ends",
    "an error message of a megabyte",
)


@pytest.fixture(scope="module")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("hostile"), ["--model", str(make_tiny_model())])
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in CASES} >= set(WORST)


async def test_hostile_schemas_hurt_nobody_else(tiny_server: ServerProcess) -> None:
    cases = [case for case in CASES if case.name in WORST]
    traffic = Traffic(tiny_server.target)
    async with Attacker(tiny_server.target) as attacker, traffic.running():
        while not traffic.experience.finished:  # noqa: ASYNC110 - what others see is all there is
            await asyncio.sleep(0.1)
        before = observe(tiny_server.process.pid)
        traffic.experience = seen = Experience()
        # OVERLOADED is the answer of a machine that is busy with other things.
        hits = await attacker.volley(cases, 4, also=frozenset({"OVERLOADED"}))
        # Streams and probes must have had the time to notice.
        while not (seen.finished and seen.fresh):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        after = observe(tiny_server.process.pid)
    assert [(hit.name, hit.reason, hit.limit) for hit in hits if not hit.documented] == []
    assert [hit.name for hit in hits if hit.decided > DECIDED_SECONDS] == []
    assert seen.failures == []
    assert max(seen.gaps) < STALL_SECONDS
    assert max(seen.probes) < STALL_SECONDS
    assert (after.engine, after.workers) == (before.engine, before.workers)
    assert before.engine
    assert before.workers
    for role in ("server", "engine", "workers"):
        assert after.memory[role] < before.memory[role] + MOST_GROWTH
