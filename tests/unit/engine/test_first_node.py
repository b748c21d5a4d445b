"""Another node notices that the first one has gone."""

from __future__ import annotations

import multiprocessing.connection
import os
import socket
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.vllm.first_node import connect_to_first_node, server_is_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

# No other connection of this process leads there.
ADDRESS = "127.0.0.2"
SECONDS = 30.0


@pytest.fixture
def store() -> Iterator[socket.socket]:
    with socket.create_server((ADDRESS, 0)) as listening:
        yield listening


def test_connection_becomes_readable_when_the_first_worker_ends(store: socket.socket) -> None:
    with connect_to_first_node(ADDRESS, store.getsockname()[1]) as connection:
        accepted, _ = store.accept()
        assert not multiprocessing.connection.wait([connection], 0.1)
        accepted.close()
        assert multiprocessing.connection.wait([connection], SECONDS) == [connection]


def test_cut_connection_is_noticed_within_half_a_minute(store: socket.socket) -> None:
    with connect_to_first_node(ADDRESS, store.getsockname()[1]) as connection:
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
    assert idle + interval * count <= SECONDS


def test_first_node_that_has_ended_already_refuses(store: socket.socket) -> None:
    port = store.getsockname()[1]
    store.close()
    with pytest.raises(OSError, match="refused"):
        connect_to_first_node(ADDRESS, port)


def test_server_is_gone_after_some_checks_without_its_connections(store: socket.socket) -> None:
    gone = server_is_gone(ADDRESS, [os.getpid()])
    # The core has not connected yet.
    assert [next(gone) for _ in range(9)] == [False] * 9
    for _ in range(2):
        with socket.create_connection(store.getsockname()):
            accepted, _ = store.accept()
            assert [next(gone) for _ in range(3)] == [False] * 3
            accepted.close()
        # One check is not enough: the core connects again.
        assert not next(gone)
    assert [next(gone) for _ in range(3)] == [False, True, True]


def test_name_that_cannot_be_resolved_for_a_time_is_no_loss(
    store: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise socket.gaierror("temporary failure in name resolution")

    with socket.create_connection(store.getsockname()):
        gone = server_is_gone(ADDRESS, [os.getpid()])
        assert not next(gone)
        monkeypatch.setattr(socket, "getaddrinfo", fails)
        assert [next(gone) for _ in range(9)] == [False] * 9


def test_core_that_has_ended_has_no_connections(store: socket.socket) -> None:
    with socket.create_connection(store.getsockname()):
        child = os.fork()
        if not child:
            os._exit(0)
        gone = server_is_gone(ADDRESS, [child])
        os.waitpid(child, 0)
        assert not next(gone)
