"""A real server with real vLLM and the embedded model, shared by every test that only calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from bench.support.server_process import ServerProcess
from genir import IRClient
from genir.v1 import ir_service_pb2_grpc
from tests.support.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def otlp() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, otlp: OtlpReceiver) -> Iterator[ServerProcess]:
    process = ServerProcess(
        tmp_path_factory.mktemp("server"),
        ["--metrics-port", "0", "--otlp-endpoint", otlp.endpoint],
    )
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> Iterator[IRClient]:
    # Generous: some machines write ten tokens a second.
    with IRClient(server.target, timeout=400) as client:
        yield client


@pytest.fixture(scope="session")
def stub(server: ServerProcess) -> Iterator[ir_service_pb2_grpc.IRServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield ir_service_pb2_grpc.IRServiceStub(channel)


@pytest.fixture(scope="session")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel
