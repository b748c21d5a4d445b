"""Hostile schemas while eight streams run. `make hostile` sends all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.hostile.attack import Attacker
from bench.hostile.catalogue import CASES
from bench.hostile.processes import observe
from bench.hostile.traffic import Experience, Traffic

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess

# Long enough for a busy machine. The point is that nothing takes minutes.
DECIDED_SECONDS = 45.0
STALL_SECONDS = 30.0
MAX_GROWTH_MIB = 512.0

SELECTED = (
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


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in CASES} >= set(SELECTED)


async def test_hostile_schemas_do_not_disturb_other_callers(server: ServerProcess) -> None:
    cases = [case for case in CASES if case.name in SELECTED]
    traffic = Traffic(server.target)
    async with Attacker(server.target) as attacker, traffic.running():
        while not traffic.experience.finished:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.1)
        before = observe(server.process.pid)
        traffic.experience = seen = Experience()
        # A busy machine may answer OVERLOADED.
        hits = await attacker.volley(cases, 4, also=frozenset({"OVERLOADED"}))
        # Streams and probes need time to be affected.
        while not (seen.finished and seen.fresh):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        after = observe(server.process.pid)
    assert [(hit.name, hit.reason, hit.limit) for hit in hits if not hit.documented] == []
    assert [hit.name for hit in hits if hit.decided > DECIDED_SECONDS] == []
    assert seen.failures == []
    assert max(seen.gaps) < STALL_SECONDS
    assert max(seen.probes) < STALL_SECONDS
    assert after.engine == before.engine
    # Workers for slow jobs start when they are first needed.
    assert set(after.workers) >= set(before.workers)
    assert before.engine
    assert before.workers
    for role in ("server", "engine", "workers"):
        assert after.memory[role] < before.memory[role] + MAX_GROWTH_MIB
