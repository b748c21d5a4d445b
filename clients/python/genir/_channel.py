"""gRPC target and channel options of a client. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING

from genir._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    ChannelOption = tuple[str, int | str]

DEFAULT_PORT = 50051
_LOOPBACK = re.compile(r"(ipv[46]:)?(127(\.\d{1,3}){3}|localhost|\[::1\]):")
# What stands before the addresses of a target that has ports. Others, such as unix:, have none.
_PREFIX = re.compile(
    r"(?:dns:(?://[^/]*/)?|ipv[46]:|(?![a-z0-9+.-]+:/|unix:|unix-abstract:|vsock:))"
)
_RESOLVERS = frozenset({"dns", "unix", "xds", "passthrough", "google-c2p"})
_IPV6 = 6
_MAX_PORT = 65_535
_SERVICE = "genir.v1.IRService"
_MAX_RECEIVE_BYTES = 64 * 1024 * 1024
_MAX_METADATA_BYTES = 32 * 1024


def split_target(target: str | Sequence[str]) -> str | Sequence[str]:
    """Splits "HOST:PORT,HOST:PORT" into its addresses; returns any other target unchanged."""
    if not isinstance(target, str) or "," not in target or ":///" in target:
        return target
    return target if target.startswith(("ipv4:", "ipv6:")) else target.split(",")


def grpc_target(target: str | Sequence[str]) -> str:
    """The target in gRPC's notation.

    A single target stays as it is, with `DEFAULT_PORT` if it has none: ``host:port``,
    ``dns:///name:port``, ``unix:///path``. Several targets must be numeric addresses of one family,
    because gRPC does not resolve a list of names.

    Raises:
        ValueError: there is no target, one is a URL or has no valid port, or gRPC cannot express
            the list.

    """
    targets = [each.strip() for each in ([target] if isinstance(target, str) else target)]
    if not targets or not all(targets):
        msg = "a target is missing, such as 127.0.0.1:50051"
        raise ValueError(msg)
    targets = [_with_port(each) for each in targets]
    if len(targets) == 1:
        return targets[0]
    versions = {_address_version(each) for each in targets}
    if len(versions) > 1:
        msg = "several targets must be all IPv4 or all IPv6 addresses"
        raise ValueError(msg)
    return f"ipv{versions.pop()}:{','.join(targets)}"


def _with_port(target: str) -> str:
    scheme, separator, _ = target.partition("://")
    if separator and scheme.lower() not in _RESOLVERS:
        secure = scheme.lower() in ("https", "grpcs")
        msg = f"the target {target!r} is a URL, and must be HOST:PORT: leave out {scheme}://" + (
            " and use TLS: credentials=tls_credentials(), or --tls" if secure else ""
        )
        raise ValueError(msg)
    prefix = _PREFIX.match(target)
    if prefix is None:
        return target
    authority, addresses = prefix[0], target[prefix.end() :].split(",")
    return authority + ",".join(map(_address, addresses))


def _address(text: str) -> str:
    """An address with a port: its own, or the default."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if ipaddress.ip_address(bare).version == _IPV6:
            return f"[{bare}]:{DEFAULT_PORT}"
    except ValueError:
        pass
    host, separator, port = text.rpartition(":")
    if not separator:
        host, port = text, str(DEFAULT_PORT)
    if not host or "/" in text or not port.isascii() or not port.isdecimal():
        msg = f"the target {text!r} must be HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}"
        raise ValueError(msg)
    if not 0 < int(port) <= _MAX_PORT:
        msg = f"the port of the target {text!r} must be 1 to {_MAX_PORT}"
        raise ValueError(msg)
    return f"{host}:{port}"


def _address_version(target: str) -> int:
    host, separator, port = target.rpartition(":")
    try:
        if separator and port.isdecimal():
            return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).version
    except ValueError:
        pass
    msg = (
        f"{target!r} must be a numeric address with a port, because it is one of several targets; "
        "for servers behind one name give a single target dns:///name:port and round_robin=True"
    )
    raise ValueError(msg)


def is_local(target: str) -> bool:
    """Whether a target in gRPC's notation is on this machine: a loopback address or a socket."""
    name = target.removeprefix("dns:///")
    if name.startswith(("unix:", "unix-abstract:")):
        return True
    addresses = re.sub(r"^ipv[46]:", "", name).split(",")
    return all(_LOOPBACK.match(each) for each in addresses)


def options_of_channel(
    target: str, *, round_robin: bool, extra: Sequence[ChannelOption]
) -> list[ChannelOption]:
    """The options of a channel; those in `extra` override the others."""
    return [
        ("grpc.service_config", json.dumps(_service_config(round_robin=round_robin))),
        ("grpc.primary_user_agent", f"genir-python/{__version__}"),
        # _retry.py makes the retries, by one rule and within one deadline. With gRPC's own retries
        # on, a call whose server went away sometimes outlived its deadline. The cause is unknown,
        # and it could not be reproduced at will.
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
        # The server's status details are much smaller, but proxies add headers.
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        # Find a server that starts or moves within seconds; gRPC's default is up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 3000),
        # A proxy from the environment cannot reach this machine's loopback address.
        ("grpc.enable_http_proxy", int(not _LOOPBACK.match(target))),
        *extra,
    ]


def _service_config(*, round_robin: bool) -> dict[str, object]:
    config: dict[str, object] = {}
    if round_robin:
        # With a single server, a health check would only hide why that server does not answer.
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": _SERVICE}
    return config
