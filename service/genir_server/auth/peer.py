"""The host of a peer, which stands for the caller on a server without authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc


def peer_host(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Returns the host that a call comes from, without the port: "ipv4:192.0.2.1", "unix"."""
    return host_of(context.peer())


def host_of(peer: str) -> str:
    """Returns the host in gRPC's name of a peer.

    >>> host_of("ipv4:192.0.2.1:40000"), host_of("ipv6:%5B::1%5D:40000"), host_of("unix:")
    ('ipv4:192.0.2.1', 'ipv6:%5B::1%5D', 'unix')
    """
    kind, _, address = peer.partition(":")
    if kind in ("ipv4", "ipv6"):
        return f"{kind}:{address.rpartition(':')[0]}"
    return kind
