"""Builds the gRPC servers: services, interceptors, options, health."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from genir.v1 import ir_service_pb2
from genir.v1 import ir_service_pb2_grpc as service_grpc
from genir_server.transport.concurrent_accept import accept_concurrently
from genir_server.transport.ended_calls import observe_ended_calls
from genir_server.transport.health_service import HealthService
from genir_server.transport.open_files import DEFAULT_CONNECTIONS, HEALTH_CONNECTIONS
from genir_server.transport.standard_services import StandardServicesInterceptor

if TYPE_CHECKING:
    from pathlib import Path

    from genir_server.settings import ServerSettings
    from genir_server.supervision.lifecycle import Lifecycle
    from genir_server.transport.interceptor import CallInterceptor
    from genir_server.transport.servicer import IRServicer

SERVICE_NAME = ir_service_pb2.DESCRIPTOR.services_by_name["IRService"].full_name
LIVENESS = "liveness"
READINESS = "readiness"

MIN_PING_INTERVAL_MS = 5_000
"""Minimum interval between a client's pings; common keepalive settings are 10 s and more."""

_KEEPALIVE_MS = 60_000
_KEEPALIVE_TIMEOUT_MS = 20_000
_READINESS_NAMES = ("", SERVICE_NAME, READINESS)
_HEALTH_MESSAGE_BYTES = 4096
_HANDSHAKE_MS = 10_000
_SETTINGS_MS = 5_000
_IDLE_MS = 10 * 60 * 1000


class BindError(Exception):
    """The address cannot be listened on."""


class PortFileError(Exception):
    """The file for the port cannot be written."""


class StandardHealth:
    """`grpc.health.v1` for "", the service, "liveness" and "readiness", following the lifecycle.

    Readiness is SERVING while generate calls are accepted, unless the operator has turned it off.
    Liveness is SERVING unless the engine has failed permanently and the process must be restarted.
    It stays SERVING while the engine restarts within the process.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.servicer = HealthService()
        self._lifecycle = lifecycle
        self._changes: asyncio.Queue[tuple[bool, bool]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sets every name and follows the lifecycle. Call it before the port opens."""
        self._publish(*self._state())
        self._lifecycle.listen(lambda: self._changes.put_nowait(self._state()))
        self._task = asyncio.create_task(self._follow(), name="standard-health")

    async def stop(self) -> None:
        """Sets every name to NOT_SERVING permanently."""
        if self._task is not None:
            self._task.cancel()
        self.servicer.stop()

    def _state(self) -> tuple[bool, bool]:
        return self._lifecycle.advertised, self._lifecycle.alive

    async def _follow(self) -> None:
        while True:
            self._publish(*await self._changes.get())

    def _publish(self, ready: bool, alive: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        for name in _READINESS_NAMES:
            self.servicer.set(name, statuses.SERVING if ready else statuses.NOT_SERVING)
        self.servicer.set(LIVENESS, statuses.SERVING if alive else statuses.NOT_SERVING)


def build_server(
    settings: ServerSettings,
    servicer: IRServicer,
    health: StandardHealth,
    calls: CallInterceptor,
) -> grpc.aio.Server:
    """A server with every service registered, not yet bound to a port."""
    observe_ended_calls()
    standard = StandardServicesInterceptor(
        calls.authentication, message_timeout=settings.message_timeout
    )
    server = grpc.aio.server(
        interceptors=(calls, standard),
        options=(
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            *_options(settings, settings.max_connections or DEFAULT_CONNECTIONS),
        ),
    )
    service_grpc.add_IRServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection(
        (
            SERVICE_NAME,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ),
        server,
    )
    return server


def write_port_file(path: Path, port: int) -> None:
    """Writes the port for whoever started the server.

    Raises:
        PortFileError: the file cannot be written.
    """
    try:
        path.write_text(f"{port}\n")
    except OSError as error:
        raise PortFileError(f"cannot write the port to {path}: {error.strerror}") from error


async def start(
    server: grpc.aio.Server,
    servicer: IRServicer,
    calls: CallInterceptor,
    *,
    concurrent_accept: bool = True,
) -> None:
    """Starts a server that `build_server` made and that is bound to a port."""
    await server.start()
    if concurrent_accept:
        accept_concurrently(server, servicer, (calls,))


def build_health_server(settings: ServerSettings, health: StandardHealth) -> grpc.aio.Server:
    """A server with the standard health service only, for probes without TLS."""
    server = grpc.aio.server(
        interceptors=(StandardServicesInterceptor(message_timeout=settings.message_timeout),),
        options=(
            ("grpc.max_receive_message_length", _HEALTH_MESSAGE_BYTES),
            *_options(settings, HEALTH_CONNECTIONS),
        ),
    )
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    return server


def _options(settings: ServerSettings, connections: int) -> tuple[tuple[str, int], ...]:
    """Channel options of every port.

    grpc-core ignores unknown names silently, so tests check the effect of each option.
    """
    options = (
        # Otherwise a second server on the same port silently receives half of the calls.
        ("grpc.so_reuseport", 0),
        # Clients may ping during a long silent call.
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # Equal values: grpc-core refuses at random between a soft and a hard limit.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.max_allowed_incoming_connections", connections),
        # Decompression could fail in grpc-core, with a status that the server does not learn.
        # Compressed messages arrive as they are, and are refused.
        ("grpc.per_message_decompression", 0),
        # Closes a connection that does not reach HTTP/2 settings in time.
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        # Closes a connection whose client does not acknowledge our settings. Until it does,
        # grpc-core does not enforce the limit on metadata.
        ("grpc.http2.settings_timeout", _SETTINGS_MS),
        # Closes idle connections, and connections whose client is gone.
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    )
    if settings.max_connection_age is None:
        return options
    return (*options, ("grpc.max_connection_age_ms", round(settings.max_connection_age * 1000)))


def bind(
    server: grpc.aio.Server,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials | None = None,
) -> int:
    """Binds the server and returns the port. Without credentials the port is plaintext.

    Raises:
        BindError: the address is in use or does not belong to this host.
    """
    check_address(host, port)
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    try:
        bound = (
            server.add_insecure_port(f"{bracketed}:{port}")
            if credentials is None
            else server.add_secure_port(f"{bracketed}:{port}", credentials)
        )
    except RuntimeError as error:
        raise BindError(f"cannot listen on {host}:{port}: {error}") from error
    if bound == 0:
        raise BindError(f"cannot listen on {host}:{port}")
    return bound


def check_address(host: str, port: int) -> None:
    """Binds a plain socket first, because grpc-core logs a line of its own when it fails.

    Raises:
        BindError: none of the addresses that `host` stands for can be bound.
    """
    try:
        addresses = socket.getaddrinfo(
            host.removeprefix("[").removesuffix("]"),
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except OSError as error:
        raise BindError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    failures: list[OSError] = []
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As grpc-core does: a port whose last connections are still closing is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            failures.append(error)
        else:
            return
    reason = failures[0].strerror if failures else "the host has no address"
    raise BindError(f"cannot listen on {host}:{port}: {reason}")
