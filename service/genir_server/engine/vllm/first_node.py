"""How another node notices that the first node, with the server, has ended.

vLLM's processes on the other nodes do not notice: their queues connect again by themselves.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_CONNECT_SECONDS = 10.0
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
}
"""A machine that is cut off or without power is noticed after 25 s."""

_MISSES = 3
"""Checks in a row without a connection after which the server is gone. Connections do not all open
and close at once."""


def connect_to_first_node(address: str, port: int) -> socket.socket:
    """A connection to the store of the first worker, which closes when that worker ends.

    It becomes readable then. The store, which PyTorch opens at ``master_port``, sends nothing to a
    client that asks for nothing.

    Args:
        address: ``master_addr``.
        port: ``master_port``.

    Raises:
        OSError: nothing listens there any more.

    """
    connection = socket.create_connection((address, port), _CONNECT_SECONDS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection


def server_is_gone(server: str, cores: Iterable[int]) -> Iterator[bool]:
    """Whether the connections between engine cores and their server are gone, at each `next`.

    Args:
        server: host or address of the server of data-parallel ranks.
        cores: ids of the processes of the cores.

    Yields:
        True once there were connections and then none for some checks.

    """
    watched = tuple(cores)
    addresses: set[str] = set()
    seen, misses = False, 0
    while True:
        # The last known ones count while the name cannot be resolved.
        addresses = _addresses(server) or addresses
        connected = any(_is_connected(core, addresses) for core in watched)
        seen = seen or connected
        misses = 0 if connected or not seen else misses + 1
        yield misses >= _MISSES


def _addresses(server: str) -> set[str]:
    with suppress(OSError):
        return {str(found[4][0]) for found in socket.getaddrinfo(server, None)}
    return set()


def _is_connected(core: int, addresses: Collection[str]) -> bool:
    # A process that has just ended has none.
    with suppress(psutil.Error):
        return any(
            connection.status == psutil.CONN_ESTABLISHED
            and connection.raddr
            and connection.raddr.ip in addresses
            for connection in psutil.Process(core).net_connections("tcp")
        )
    return False
