"""Which peers count as one caller on a server without authentication."""

from __future__ import annotations

import pytest

from genir_server.auth.peer import host_of


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:192.0.2.1:40000", "ipv4:192.0.2.1"),
        ("ipv4:192.0.2.1:40001", "ipv4:192.0.2.1"),
        ("ipv4:192.0.2.2:40000", "ipv4:192.0.2.2"),
        ("ipv6:%5B2001:db8:0:1::7%5D:40000", "ipv6:2001:db8:0:1::/64"),
        ("ipv6:%5B2001:db8:0:1:ffff:ffff:ffff:ffff%5D:1", "ipv6:2001:db8:0:1::/64"),
        ("ipv6:%5B2001:db8:0:2::7%5D:40000", "ipv6:2001:db8:0:2::/64"),
        ("ipv6:[2001:db8:0:1::8]:40000", "ipv6:2001:db8:0:1::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:40000", "ipv6:fe80::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:40000", "ipv4:192.0.2.1"),
        ("ipv6:%5B::1%5D:40000", "loopback"),
        ("ipv4:127.0.0.1:40000", "loopback"),
        ("ipv4:127.8.8.8:40000", "loopback"),
        ("ipv6:%5B::ffff:127.0.0.1%5D:40000", "loopback"),
        ("unix:/run/genir.sock", "unix"),
        ("unix:", "unix"),
        ("", ""),
    ],
)
def test_addresses_that_one_host_can_choose_are_one_caller(peer: str, host: str) -> None:
    assert host_of(peer) == host
