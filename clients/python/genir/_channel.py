"""Where a client connects to and how its channel behaves. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING

from genir._version import client_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    ChannelOption = tuple[str, int | str]

_LOOPBACK = re.compile(r"(ipv[46]:)?(127(\.\d{1,3}){3}|localhost|\[::1\]):")
_SERVICE = "genir.v1.IRService"
_MAX_RECEIVE_BYTES = 64 * 1024 * 1024
_MAX_METADATA_BYTES = 32 * 1024


def split_target(target: str | Sequence[str]) -> str | Sequence[str]:
    """Splits "HOST:PORT,HOST:PORT" into its addresses; gives any other target back unchanged."""
    if not isinstance(target, str) or "," not in target or ":///" in target:
        return target
    return target if target.startswith(("ipv4:", "ipv6:")) else target.split(",")


def grpc_target(target: str | Sequence[str]) -> str:
    """The target in gRPC's own notation.

    One target is taken as it is: ``host:port``, ``dns:///name:port``, ``unix:///path``. Several
    must be numeric addresses of one family, since gRPC resolves no list of names.

    Raises:
        ValueError: no target, or a list that gRPC cannot express.

    """
    targets = [target] if isinstance(target, str) else list(target)
    if not targets or not all(targets):
        msg = "give at least one target, such as 127.0.0.1:50051"
        raise ValueError(msg)
    if len(targets) == 1:
        return targets[0]
    versions = {_address_version(each) for each in targets}
    if len(versions) > 1:
        msg = "several targets must be all IPv4 or all IPv6 addresses"
        raise ValueError(msg)
    return f"ipv{versions.pop()}:{','.join(targets)}"


def _address_version(target: str) -> int:
    host, separator, port = target.rpartition(":")
    try:
        if separator and port.isdecimal():
            return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).version
    except ValueError:
        pass
    msg = (
        f"{target!r} is not a numeric address with a port, as each of several targets must be; for "
        "servers behind one name give a single target dns:///name:port and round_robin=True"
    )
    raise ValueError(msg)


def is_local(target: str) -> bool:
    """Whether a target in gRPC's notation cannot lead off this machine."""
    name = target.removeprefix("dns:///")
    if name.startswith(("unix:", "unix-abstract:")):
        return True
    addresses = re.sub(r"^ipv[46]:", "", name).split(",")
    return all(_LOOPBACK.match(each) for each in addresses)


def options_of_channel(
    target: str, *, round_robin: bool, extra: Sequence[ChannelOption]
) -> list[ChannelOption]:
    """The options of a channel; `extra` comes last and wins."""
    return [
        ("grpc.service_config", json.dumps(_service_config(round_robin=round_robin))),
        ("grpc.primary_user_agent", f"genir-python/{client_version()}"),
        # Calls are made again in _retry.py, by one rule and within one deadline. With gRPC's own
        # retries on, calls whose server went away were seen to outlive their deadline now and
        # then; why is not known, and it could not be brought about at will.
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
        # Status details of the server stay far below this; proxies add headers of their own.
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        # A server that starts or moves is found within seconds, not after gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 3000),
        # A proxy that the environment names cannot reach this machine's own loopback address.
        ("grpc.enable_http_proxy", int(not _LOOPBACK.match(target))),
        *extra,
    ]


def _service_config(*, round_robin: bool) -> dict[str, object]:
    config: dict[str, object] = {}
    if round_robin:
        # With one server a health check would only hide why that server does not answer.
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": _SERVICE}
    return config
