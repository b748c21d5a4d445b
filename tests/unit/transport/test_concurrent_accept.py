"""New calls while the event loop is busy, over a real channel."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from genir.v1 import ir_service_pb2
from genir_server.patch_table import fits
from genir_server.patch_table.table import PATCHES, Touch
from genir_server.transport import concurrent_accept as accepting
from tests.support.in_process_server import REQUEST, STREAM_REQUEST, digest
from tests.support.in_process_server import refusal as refused
from tests.support.in_process_server import serving as authenticating
from tests.support.scripted_engine import ScriptedEngine
from tests.support.transport_server import serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genir_server.observability.call_record import CallEnd, CallRecord
    from tests.support.transport_server import Served

CALLS = 16


class Turns:
    """Long turns of the event loop, and in which of them each call began."""

    def __init__(self) -> None:
        self.beginnings: list[int] = []
        self._turn = 0

    async def go_on(self) -> None:
        while True:
            # As if it were the messages of many streams.
            time.sleep(0.003)  # noqa: ASYNC251
            self._turn += 1
            await asyncio.sleep(0)

    def call_began(self, _record: CallRecord, _trace_context: Mapping[str, str]) -> None:
        self.beginnings.append(self._turn)

    def call_ended(self, _record: CallRecord, _end: CallEnd) -> None:
        pass


async def refusal(served: Served) -> None:
    """A call that is over soon."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.GenerateIR(ir_service_pb2.GenerateIRRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def turns_between_the_first_and_the_last_of_many_calls() -> int:
    turns = Turns()
    async with serving(ScriptedEngine(), observers=(turns,)) as served:
        await refusal(served)
        turns.beginnings.clear()
        busy = asyncio.create_task(turns.go_on())
        await asyncio.gather(*(refusal(served) for _ in range(CALLS)))
        busy.cancel()
    assert len(turns.beginnings) == CALLS
    return turns.beginnings[-1] - turns.beginnings[0]


async def test_calls_are_taken_in_together_however_long_a_turn_of_the_event_loop_is() -> None:
    assert await turns_between_the_first_and_the_last_of_many_calls() < CALLS


async def test_unknown_grpcio_version_disables_concurrent_accept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = PATCHES["concurrent accept"]
    changed = replace(entry, touches=(Touch("grpc._cython.cygrpc:_renamed", "read"),))
    monkeypatch.setitem(PATCHES, "concurrent accept", changed)
    assert await turns_between_the_first_and_the_last_of_many_calls() >= CALLS


def test_the_installed_grpcio_is_one_that_it_was_tried_with() -> None:
    assert fits.applies("concurrent accept")


async def test_calls_taken_in_beside_the_servers_own_loop_pass_what_calls_have_to_pass(
    tmp_path: Path,
) -> None:
    callers = tmp_path / "callers.toml"
    callers.write_text(
        f'[callers.one]\ntokens = ["{digest("token")}"]\npermissions = ["generate"]\n'
    )
    async with (
        authenticating(auth_file=callers) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        # The first of each method goes through the server's own loop, which asked for it first.
        for _ in range(3):
            for call in (stub.GenerateIR(REQUEST), stub.StreamIR(STREAM_REQUEST)):
                assert (await refused(call))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_nothing_is_left_of_it_when_the_server_has_stopped() -> None:
    before = set(accepting._kept)
    async with serving(ScriptedEngine()) as served:
        await refusal(served)
        assert accepting._kept - before
    async with asyncio.timeout(5):
        while not accepting._kept <= before:  # noqa: ASYNC110 - what ends them is grpc-core.
            await asyncio.sleep(0.01)
