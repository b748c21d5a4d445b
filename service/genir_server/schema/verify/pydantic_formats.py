"""Formats that no standard defines and that pydantic writes for Python's types.

Texts are those that the types read and write themselves; a network or an interface is an address
with the number of bits of its prefix.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIX = re.compile("0|[1-9][0-9]{0,2}")


def _is_uuid(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        return _UUID.fullmatch(text) is not None and uuid.UUID(text).version == version

    return check


def _is_read(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        _, slash, prefix = text.partition("/")
        # A zone, and a prefix written as a mask, are no part of these formats.
        if "%" in text or (slash and not _PREFIX.fullmatch(prefix)):
            return False
        try:
            read(text)
        except ValueError:
            return False
        return True

    return check


PYDANTIC_FORMATS: dict[str, Callable[[str], bool]] = {
    **{f"uuid{version}": _is_uuid(version) for version in range(1, 9)},
    "ipvanyaddress": _is_read(ipaddress.ip_address),
    "ipv4interface": _is_read(ipaddress.IPv4Interface),
    "ipv6interface": _is_read(ipaddress.IPv6Interface),
    "ipvanyinterface": _is_read(ipaddress.ip_interface),
    "ipv4network": _is_read(ipaddress.IPv4Network),
    "ipv6network": _is_read(ipaddress.IPv6Network),
    "ipvanynetwork": _is_read(ipaddress.ip_network),
}
"""By name, whether a text has the format."""
