"""New calls while the event loop is busy, over a real channel."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc

from genir.v1 import ir_service_pb2
from genir_server.transport import accepting
from tests.service.core.scripted_engine import ScriptedEngine
from tests.service.transport.test_calls import serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from genir_server.call_record import CallEnd, CallRecord

CALLS = 24


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


async def turns_between_the_first_and_the_last_of_many_calls() -> int:
    turns = Turns()
    async with serving(ScriptedEngine(), observers=(turns,)) as served:
        await served.stub.Health(ir_service_pb2.HealthRequest())
        turns.beginnings.clear()
        busy = asyncio.create_task(turns.go_on())
        calls = [served.stub.Health(ir_service_pb2.HealthRequest()) for _ in range(CALLS)]
        await asyncio.gather(*calls)
        busy.cancel()
    assert len(turns.beginnings) == CALLS
    return turns.beginnings[-1] - turns.beginnings[0]


async def test_calls_are_taken_in_together_however_long_a_turn_of_the_event_loop_is() -> None:
    assert await turns_between_the_first_and_the_last_of_many_calls() < CALLS


async def test_with_a_grpcio_that_is_not_known_they_are_taken_in_as_it_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepting, "TRIED_WITH", ("0.",))
    assert await turns_between_the_first_and_the_last_of_many_calls() >= CALLS


def test_the_installed_grpcio_is_one_that_it_was_tried_with() -> None:
    assert grpc.__version__.startswith(accepting.TRIED_WITH)


async def test_nothing_is_left_of_it_when_the_server_has_stopped() -> None:
    async with serving(ScriptedEngine()) as served:
        await served.stub.Health(ir_service_pb2.HealthRequest())
        assert accepting._kept
    async with asyncio.timeout(5):
        while accepting._kept:  # noqa: ASYNC110 - what ends them is grpc-core.
            await asyncio.sleep(0.01)
