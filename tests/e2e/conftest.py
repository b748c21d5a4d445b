"""Servers that the end-to-end tests share.

`server` runs the tiny model, whose text is noise: use it unless the text matters. `embedded_server`
runs the embedded model. `private_server` runs the tiny model, admits only callers with a token and
runs few calls at a time. `hub_server` downloads the tiny model in several files, as large models
come, and runs it without jump-forward. Tests that stop a server or kill its engine start one in
their own module.

Tests with the marker `any_model` hold with every model. They call `target`, which is `server`, or
the running server whose address ``GENIR_TEST_TARGET`` has.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grpc
import pytest

from bench.support.server_process import ServerProcess
from bench.support.tiny_server import TinyServer
from genir import IRClient
from genir.v1 import ir_service_pb2_grpc
from tests.support.credentials import PRIVATE_RUNNING, TOKEN, callers_file
from tests.support.hub import Hub
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.sharded_model import make_sharded_model

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL_SECONDS = 400.0
"""Enough for the embedded model on a machine that generates ten tokens a second."""
TRACE_EXPORT_MILLISECONDS = "200"
TARGET_VARIABLE = "GENIR_TEST_TARGET"


@pytest.fixture(scope="session")
def otlp() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, otlp: OtlpReceiver) -> Iterator[ServerProcess]:
    process = TinyServer(
        tmp_path_factory.mktemp("server"),
        *("--served-model-name", "tiny"),
        *("--metrics-port", "0", "--otlp-endpoint", otlp.endpoint),
        environment={"OTEL_BSP_SCHEDULE_DELAY": TRACE_EXPORT_MILLISECONDS},
    )
    try:
        process.wait_ready()
        yield process
        assert process.process.poll() is None
    finally:
        process.close()


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> str:
    """Address of `server`, or of the server that the environment names."""
    if given := os.environ.get(TARGET_VARIABLE):
        return given
    server: ServerProcess = request.getfixturevalue("server")
    return server.target


@pytest.fixture(scope="session")
def client(target: str) -> Iterator[IRClient]:
    with IRClient(target, timeout=CALL_SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def channel(target: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> ir_service_pb2_grpc.IRServiceStub:
    return ir_service_pb2_grpc.IRServiceStub(channel)


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("embedded"))
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


@pytest.fixture(scope="session")
def embedded_client(embedded_server: ServerProcess) -> Iterator[IRClient]:
    with IRClient(embedded_server.target, timeout=CALL_SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def embedded_stub(
    embedded_server: ServerProcess,
) -> Iterator[ir_service_pb2_grpc.IRServiceStub]:
    with grpc.insecure_channel(embedded_server.target) as channel:
        yield ir_service_pb2_grpc.IRServiceStub(channel)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A stand-in for the Hugging Face Hub with the tiny model in several files."""
    with Hub("owner/tiny", make_sharded_model(tmp_path_factory.mktemp("hub") / "model")) as hub:
        yield hub


@pytest.fixture(scope="session")
def hub_server(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    """Has a name of the hub as its model."""
    folder = tmp_path_factory.mktemp("hub-server")
    process = TinyServer(
        folder,
        *("--jump-forward", "off"),
        model=hub.name,
        environment=hub.environment(folder / "downloads"),
    )
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


@pytest.fixture(scope="session")
def private_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Admits callers with `tests.support.credentials.TOKENS` and logs at level debug."""
    folder = tmp_path_factory.mktemp("private")
    callers = folder / "callers.toml"
    callers.write_text(callers_file())
    process = TinyServer(
        folder,
        *("--served-model-name", "tiny", "--auth-file", str(callers)),
        *("--log-level", "debug"),
        *("--max-running-calls", str(PRIVATE_RUNNING)),
        # Short, so that a call whose message never comes ends within a test.
        *("--message-timeout", "5"),
    )
    try:
        process.wait_ready(TOKEN)
        yield process
        assert process.process.poll() is None
    finally:
        process.close()
