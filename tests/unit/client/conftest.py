"""A scripted server and both clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genir import AsyncIRClient, IRClient
from genir.v1 import ir_service_pb2, status_pb2
from tests.support.client_adapters import AsyncioCaller, BlockingCaller, Caller
from tests.support.contract_server import DIGEST, ContractServer, checked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as server:
        yield server


@pytest.fixture
def every_answer(server: ContractServer) -> None:
    """Lets the server answer health checks, schema checks and warm-ups too."""
    ready = ir_service_pb2.HealthResponse(phase=status_pb2.PHASE_READY, ready=True)
    warmed = ir_service_pb2.WarmupResponse(ir_json="{}", schema_digest=DIGEST)
    server.service.healths.append(lambda _: ready)
    server.service.checks.append(checked)
    server.service.warmups.append(lambda _: warmed)


@pytest.fixture(params=["blocking", "asyncio"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Caller]]:
    """Makes a client of each kind from constructor arguments, and closes it after the test."""
    callers: list[Caller] = []

    def make(*arguments: Any, **options: Any) -> Caller:
        caller: Caller = (
            BlockingCaller(IRClient(*arguments, **options))
            if request.param == "blocking"
            else AsyncioCaller(AsyncIRClient(*arguments, **options))
        )
        callers.append(caller)
        return caller

    yield make
    for caller in callers:
        await caller.close()


@pytest.fixture
def caller(server: ContractServer, connect: Callable[..., Caller]) -> Caller:
    return connect(server.target)
