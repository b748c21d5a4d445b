"""Two callers on one engine: the flood of one does not take the other's share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bench.support.tiny_server import NO_RETRIES, text_schema
from genir import AsyncIRClient
from tests.support.credentials import PRIVATE_RUNNING as RUNNING
from tests.support.credentials import TOKENS

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess

FLOODING = 12
CALLS = 6
TEXT = text_schema(60, 80)


def client_of(server: ServerProcess, name: str) -> AsyncIRClient:
    return AsyncIRClient(server.target, token=TOKENS[name], retry=NO_RETRIES, timeout=300)


async def test_flood_with_the_lowest_priority_leaves_another_caller_its_share(
    private_server: ServerProcess,
) -> None:
    done = 0

    async def flood(client: AsyncIRClient) -> None:
        nonlocal done
        while True:
            await client.generate("Flood.", schema=TEXT, priority=-1000)
            done += 1

    server = private_server
    async with client_of(server, "flooding") as flooding, client_of(server, "other") as other:
        tasks = [asyncio.create_task(flood(flooding)) for _ in range(FLOODING)]
        try:
            while (await flooding.health()).activity.waiting < FLOODING - RUNNING:  # noqa: ASYNC110 - no event for it.
                await asyncio.sleep(0.05)
            before = done
            for _ in range(CALLS):
                assert (await other.generate("Share.", schema=TEXT, timeout=60)).ir_json
            passed = done - before
        finally:
            await cancel(tasks)
    # Each of these calls waits for one place, and runs as long as about RUNNING others.
    assert passed <= CALLS * 3 * RUNNING


async def test_permission_lets_a_call_overtake_those_of_other_callers(
    private_server: ServerProcess,
) -> None:
    ended: list[str] = []

    async def call(client: AsyncIRClient, name: str, priority: int) -> None:
        assert (await client.generate(name, schema=TEXT, priority=priority)).ir_json
        ended.append(name)

    server = private_server
    async with client_of(server, "flooding") as flooding, client_of(server, "urgent") as urgent:
        flood = [asyncio.create_task(call(flooding, "Flood.", -1000)) for _ in range(3 * FLOODING)]
        try:
            while (await urgent.health()).activity.waiting < 2 * FLOODING:  # noqa: ASYNC110 - no event for it.
                await asyncio.sleep(0.02)
            before = len(ended)
            # Both arrive while the others wait, so their place is only a matter of their priority.
            await asyncio.gather(call(urgent, "Later.", 1), call(urgent, "Now.", -1))
            await asyncio.gather(*flood)
        finally:
            await cancel(flood)
    assert ended.index("Now.") - before <= 3 * RUNNING
    # A call that starts last can still end before the RUNNING calls beside it.
    assert ended.index("Later.") >= len(ended) - 1 - RUNNING


async def cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
