"""Accepting new calls while the event loop is busy, over a real channel."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from structlog.testing import CapturingLogger

from genir.v1 import ir_service_pb2
from genir_server.patch_table import fits
from genir_server.patch_table.table import PATCHES, Touch
from genir_server.transport import concurrent_accept
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


class Iterations:
    """Makes iterations of the event loop long and records in which one each call began."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._iteration = 0

    async def run(self) -> None:
        while True:
            # Stands for the messages of many streams.
            time.sleep(0.003)  # noqa: ASYNC251
            self._iteration += 1
            await asyncio.sleep(0)

    def call_began(self, _record: CallRecord, _trace_context: Mapping[str, str]) -> None:
        self.starts.append(self._iteration)

    def call_ended(self, _record: CallRecord, _end: CallEnd) -> None:
        pass


async def refusal(served: Served) -> None:
    """Makes a call that ends at once."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.GenerateIR(ir_service_pb2.GenerateIRRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def iterations_to_accept_many_calls(*, concurrent: bool = True) -> int:
    iterations = Iterations()
    async with serving(
        ScriptedEngine(), observers=(iterations,), concurrent_accept=concurrent
    ) as served:
        await refusal(served)
        iterations.starts.clear()
        busy = asyncio.create_task(iterations.run())
        await asyncio.gather(*(refusal(served) for _ in range(CALLS)))
        busy.cancel()
    assert len(iterations.starts) == CALLS
    return iterations.starts[-1] - iterations.starts[0]


async def test_calls_are_accepted_together_on_a_busy_event_loop() -> None:
    assert await iterations_to_accept_many_calls() < CALLS


@pytest.fixture(autouse=True)
def _own_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "_outcomes", {})


async def test_unknown_grpcio_version_disables_concurrent_accept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = PATCHES["concurrent accept"]
    changed = replace(entry, touches=(Touch("grpc._cython.cygrpc:_renamed", "read"),))
    monkeypatch.setitem(PATCHES, "concurrent accept", changed)
    assert await iterations_to_accept_many_calls() >= CALLS


@pytest.mark.parametrize(
    ("touch", "reason"),
    [
        (Touch("grpc._cython.cygrpc:_handle_rpc", "read", parameters=("rpc_state",)), "takes ("),
        (Touch("grpc._cython.cygrpc:AioServer._renamed", "read"), "has no attribute '_renamed'"),
        (Touch("grpc._cython.cygrpc:_renamed", "read"), "has no attribute '_renamed'"),
    ],
    ids=["other parameters", "no method", "no function"],
)
async def test_start_with_a_grpcio_that_does_not_fit_warns(
    touch: Touch, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = PATCHES["concurrent accept"]
    monkeypatch.setitem(PATCHES, "concurrent accept", replace(entry, touches=(touch,)))
    log = CapturingLogger()
    monkeypatch.setattr(concurrent_accept, "log", log)
    async with serving(ScriptedEngine()) as served:
        await refusal(served)
    (warning,) = log.calls
    assert warning.method_name == "warning"
    assert "one at a time" in warning.args[0]
    assert warning.kwargs["grpcio"] == grpc.__version__
    assert reason in warning.kwargs["reason"]
    # The line with all patches, which the engine's start logs, has it too.
    applied, _, others = fits.summary(fits.outcomes(), {}).partition("; not applied: ")
    assert "concurrent accept" not in applied
    assert "concurrent accept (" in others


async def test_setting_turns_concurrent_accept_off() -> None:
    assert await iterations_to_accept_many_calls(concurrent=False) >= CALLS


def test_installed_grpcio_fits_the_patch_table() -> None:
    assert fits.applies("concurrent accept")


async def test_concurrently_accepted_calls_pass_authentication(
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
        # The first call of each method goes through the server's own loop.
        for _ in range(3):
            for call in (stub.GenerateIR(REQUEST), stub.StreamIR(STREAM_REQUEST)):
                assert (await refused(call))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_no_task_is_left_when_the_server_has_stopped() -> None:
    before = set(concurrent_accept._kept)
    async with serving(ScriptedEngine()) as served:
        await refusal(served)
        assert concurrent_accept._kept - before
    async with asyncio.timeout(5):
        while not concurrent_accept._kept <= before:  # noqa: ASYNC110 - grpc-core ends them.
            await asyncio.sleep(0.01)
