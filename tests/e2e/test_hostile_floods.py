"""Floods of calls, each hard on one part of the server. `make hostile` runs all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bench.callers_file import write_callers
from bench.hostile import floods
from bench.hostile.attack import Attacker
from bench.hostile.identities import HONEST_TOKEN, TOKENS
from bench.hostile.processes import observe
from bench.hostile.traffic import Experience, Traffic
from bench.support.tiny_server import TinyServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from bench.support.server_process import ServerProcess

FLOOD_SECONDS = 2.0
# Long enough for a busy machine. Before, a probe waited for several seconds.
STALL_SECONDS = 30.0
MEDIAN_PROBE_SECONDS = 2.0
SELECTED = ("values that are slow to check", "schema checks", "cancelled calls", "compressed bombs")


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that tells the attacker from the honest callers."""
    folder = tmp_path_factory.mktemp("guarded-server")
    server = TinyServer(folder, "--auth-file", str(write_callers(folder, TOKENS)))
    try:
        server.wait_ready(token=HONEST_TOKEN)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
async def traffic(guarded_server: ServerProcess) -> AsyncIterator[Traffic]:
    """Honest callers, who go on from flood to flood."""
    traffic = Traffic(guarded_server.target)
    async with traffic.running():
        while not traffic.experience.finished:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.1)
        yield traffic


@pytest.mark.parametrize("flood", [each for each in floods.FLOODS if each.name in SELECTED])
async def test_flood_does_not_disturb_other_callers(
    guarded_server: ServerProcess,
    traffic: Traffic,
    monkeypatch: pytest.MonkeyPatch,
    flood: floods.Flood,
) -> None:
    monkeypatch.setattr(floods, "SECONDS", FLOOD_SECONDS)
    monkeypatch.setattr(floods, "SLOW_VALUES", 8)
    monkeypatch.setattr(floods, "BOMBS", 8)
    async with Attacker(guarded_server.target) as attacker:
        before = observe(guarded_server.process.pid)
        traffic.experience = seen = Experience()
        hits = await flood.run(attacker)
        while not (seen.finished and seen.fresh and seen.checks and seen.guarded):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        after = observe(guarded_server.process.pid)
    assert hits
    assert [(hit.name, hit.reason, hit.message) for hit in hits if not hit.documented] == []
    assert seen.failures == []
    assert max(seen.gaps) < STALL_SECONDS
    assert sorted(seen.probes)[len(seen.probes) // 2] < MEDIAN_PROBE_SECONDS
    assert after.engine == before.engine
    # Workers for slow jobs start when they are first needed.
    assert set(after.workers) >= set(before.workers)


def test_every_selected_flood_exists() -> None:
    assert set(SELECTED) <= {flood.name for flood in floods.FLOODS}
