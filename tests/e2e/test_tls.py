"""A server process with TLS, callers and a health port.

The test does not wait for the model: the ports are open while it loads.
"""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.support.certificates import Authority
from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import GenirError, IRClient, NotAuthorizedError, UnavailableError, tls_credentials
from tests.support.in_process_server import digest

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "the-operators-token"  # noqa: S105 - known to the test's own server.


def test_tls_callers_and_health_port(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    old.server().write(tmp_path / "tls.crt", tmp_path / "tls.key")
    for name, authority in (("old", old), ("new", new)):
        (tmp_path / f"{name}.crt").write_bytes(authority.certificate)
    (tmp_path / "callers.toml").write_text(
        f'[callers.operator]\ntokens = ["{digest(TOKEN)}"]\npermissions = ["generate"]\n'
    )
    server = ServerProcess(
        tmp_path,
        (
            *("--model", str(make_tiny_model()), "--health-port", "0"),
            *("--tls-cert", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key")),
            *("--auth-file", str(tmp_path / "callers.toml")),
        ),
    )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{health_port(server)}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            alive = health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=20)
        assert alive.status == health_pb2.HealthCheckResponse.SERVING

        assert phase(server, tmp_path / "old.crt", TOKEN) in {"starting", "loading_model"}
        with pytest.raises(NotAuthorizedError):
            phase(server, tmp_path / "old.crt", "another-token")
        with pytest.raises(UnavailableError):
            phase(server, tmp_path / "new.crt", TOKEN)

        new.server().write(tmp_path / "tls.crt", tmp_path / "tls.key")
        deadline = time.monotonic() + 30
        while True:
            try:
                phase(server, tmp_path / "new.crt", TOKEN)
                break
            except GenirError:
                assert time.monotonic() < deadline, server.log
                time.sleep(0.2)
        server.send(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.close()
    assert TOKEN not in server.log
    assert "another-token" not in server.log
    assert '"caller": "operator"' not in server.log  # Health that is answered is no news.
    assert '"reason": "UNAUTHENTICATED"' in server.log


def health_port(server: ServerProcess) -> int:
    for line in server.log.splitlines():
        if '"listening for health"' in line:
            return int(json.loads(line)["port"])
    raise AssertionError(server.log)


def phase(server: ServerProcess, ca: Path, token: str) -> str:
    options = (("grpc.use_local_subchannel_pool", 1),)
    with IRClient(
        server.target,
        credentials=tls_credentials(ca=ca),
        token=token,
        channel_options=options,
        timeout=10,
    ) as client:
        return str(client.health().phase)
