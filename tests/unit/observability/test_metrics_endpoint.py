"""The metrics port limits its connections."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from genir_server.observability import metrics_endpoint
from genir_server.observability.metrics_endpoint import MAX_CONNECTIONS, MetricsEndpoint

if TYPE_CHECKING:
    import pytest


def scraped(port: int) -> bool:
    """Whether the port answers with metrics instead of closing the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().status == 200
    except (http.client.HTTPException, ConnectionError):
        return False
    finally:
        connection.close()


def test_connections_over_the_limit_are_closed(capfd: pytest.CaptureFixture[str]) -> None:
    endpoint = MetricsEndpoint(CollectorRegistry(), "127.0.0.1", 0)
    try:
        with ExitStack() as stack:
            silent = [
                stack.enter_context(socket.create_connection(("127.0.0.1", endpoint.port)))
                for _ in range(MAX_CONNECTIONS + 4)
            ]
            for connection in silent[MAX_CONNECTIONS:]:
                connection.settimeout(10)
                assert connection.recv(1) == b""
        # The server notices a moment later that the others have left.
        ends = time.monotonic() + 10
        while not scraped(endpoint.port):
            assert time.monotonic() < ends
    finally:
        endpoint.close()
    assert "Traceback" not in capfd.readouterr().err


def test_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint._Handler, "timeout", 0.2)
    endpoint = MetricsEndpoint(CollectorRegistry(), "127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", endpoint.port), 10) as connection:
            assert connection.recv(1) == b""
    finally:
        endpoint.close()
