"""`genir health` says what a readiness probe says, on both ports of a server."""

from __future__ import annotations

import asyncio
import json
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genir import IRClient
from genir.v1 import ir_service_pb2, status_pb2
from tests.support.cli import run
from tests.support.contract_server import ContractServer
from tests.support.in_process_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthPort(health_pb2_grpc.HealthServicer):
    """Serves grpc.health.v1 alone; gives its statuses one after the other, then the last one."""

    def __init__(self) -> None:
        self.statuses: list[Any] = [SERVING]
        self.target = ""

    def Check(  # noqa: N802 - the name in the contract.
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service != "readiness":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown")
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return health_pb2.HealthCheckResponse(status=status)


@pytest.fixture
def health_port() -> Iterator[HealthPort]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = HealthPort()
    health_pb2_grpc.add_HealthServicer_to_server(port, server)
    port.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield port
    server.stop(None).wait(10)


def health(target: str, *arguments: str) -> Result:
    return run("health", "--target", target, *arguments)


@pytest.mark.parametrize("arguments", [(), ("--wait",), ("--deep",)])
def test_a_lame_duck_is_not_ready(arguments: tuple[str, ...]) -> None:
    with ContractServer() as server:
        server.service.healths.append(
            lambda _: ir_service_pb2.HealthResponse(
                phase=status_pb2.PHASE_READY, ready=True, lame_duck=True
            )
        )
        shown = health(server.target, *arguments)
        assert shown.exit_code == 3
        assert "lame duck" in shown.stdout
        as_json = health(server.target, "--json", *arguments)
    assert as_json.exit_code == 3
    state = json.loads(as_json.stdout)
    assert (state["ready"], state["lame_duck"], state["advertised"]) == (True, True, False)


async def test_the_health_port_of_a_server() -> None:
    async with serving() as served:
        shown = await asyncio.to_thread(health, served.health_target)
        assert shown.exit_code == 0, shown.stderr
        assert "grpc.health.v1 alone: readiness is SERVING" in shown.stdout
        both = await asyncio.to_thread(health, served.target, "--json")
    # The log of the server goes to the same place.
    assert json.loads(both.stdout.splitlines()[-1])["advertised"] is True


def test_a_health_port_that_does_not_serve(health_port: HealthPort) -> None:
    health_port.statuses = [NOT_SERVING]
    shown = health(health_port.target)
    assert shown.exit_code == 3
    assert "readiness is NOT_SERVING" in shown.stdout
    as_json = health(health_port.target, "--json", "--wait", "0.2")
    assert as_json.exit_code == 3
    assert json.loads(as_json.stdout) == {"advertised": False, "service": "grpc.health.v1"}


def test_wait_at_a_health_port(health_port: HealthPort) -> None:
    health_port.statuses = [NOT_SERVING, NOT_SERVING, SERVING]
    assert health(health_port.target, "--wait", "60").exit_code == 0
    assert health_port.statuses == [SERVING]


def test_a_deep_check_needs_the_main_port(health_port: HealthPort) -> None:
    refused = health(health_port.target, "--deep")
    assert refused.exit_code == 1
    assert "UNIMPLEMENTED" in refused.stderr


def test_a_port_of_another_kind() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        shown = health(target)
    finally:
        server.stop(None).wait(10)
    assert shown.exit_code == 1
    assert "UNIMPLEMENTED" in shown.stderr


def test_a_probe_for_any_name(health_port: HealthPort) -> None:
    with IRClient(health_port.target) as client:
        assert client.probe()
        health_port.statuses = [NOT_SERVING]
        assert not client.probe("readiness", timeout=5)
