"""The host of a peer, which stands for the caller on a server without authentication."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    import grpc

_NETWORK_BITS = 64
"""Bits of an IPv6 address that tell callers apart: whoever has one address has 2^64 of them."""


def peer_host(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Returns the host that a call comes from, as `host_of` does."""
    return host_of(context.peer())


def host_of(peer: str) -> str:
    """Returns the host in gRPC's name of a peer: an IPv4 address, an IPv6 network or "loopback".

    Neither the port nor the address within an IPv6 network matters, because one host can choose
    them freely. All loopback addresses are this machine.

    >>> host_of("ipv4:192.0.2.1:40000"), host_of("ipv6:%5B2001:db8::7%5D:40000"), host_of("unix:")
    ('ipv4:192.0.2.1', 'ipv6:2001:db8::/64', 'unix')
    """
    kind, _, rest = peer.partition(":")
    try:
        address = ipaddress.ip_address(unquote(rest).rpartition(":")[0].strip("[]"))
    except ValueError:
        return kind
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "loopback"
    if isinstance(address, ipaddress.IPv4Address):
        return f"ipv4:{address}"
    return f"ipv6:{ipaddress.ip_network((int(address), _NETWORK_BITS), strict=False)}"
