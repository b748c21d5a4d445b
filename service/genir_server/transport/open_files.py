"""How many connections the limit of open files allows.

Each connection takes a file descriptor. Without any left, the server could not start a process or
open a file, so the limits on connections leave it a reserve.
"""

from __future__ import annotations

import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from genir_server.observability.metrics_endpoint import MAX_CONNECTIONS as METRICS_CONNECTIONS

if TYPE_CHECKING:
    from genir_server.settings import ServerSettings

DEFAULT_CONNECTIONS = 1000
"""Connections to the main port, if neither a setting nor the limit of open files says otherwise."""

HEALTH_CONNECTIONS = 64
"""Connections to the health port."""

ENOUGH_FILES = 65_535
"""The soft limit is raised up to this, as vLLM raises it."""

OWN_FILES = 128
"""Descriptors of the server itself, more than twice of what it uses with vLLM."""

_FILES_PER_WORKER = 4
_MIN_CONNECTIONS = 8

log = structlog.get_logger("genir.server")


class TooFewFilesError(Exception):
    """The limit of open files is too low. The message is for the operator."""


def raise_limit() -> int:
    """Raises the soft limit of open files, if the hard one allows it; returns the limit in force.

    Processes that the server starts inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid it.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return ENOUGH_FILES if soft == resource.RLIM_INFINITY else soft


def fit_connections(settings: ServerSettings, open_files: int) -> ServerSettings:
    """The settings with a limit on connections that fits the limit of open files.

    Args:
        settings: what the operator set.
        open_files: the limit of open files.

    Raises:
        TooFewFilesError: the limit that the operator set does not fit, or hardly any would.
    """
    addresses = _addresses(settings.host)
    reserve = OWN_FILES + _FILES_PER_WORKER * (settings.schema_workers + 1)
    if settings.health_port is not None:
        reserve += HEALTH_CONNECTIONS * addresses
    if settings.metrics_port is not None:
        reserve += METRICS_CONNECTIONS
    asked = settings.max_connections
    # grpc-core applies the limit to each address.
    room = (open_files - reserve) // addresses
    if room < (asked or _MIN_CONNECTIONS):
        needed = reserve + addresses * (asked or _MIN_CONNECTIONS)
        raise TooFewFilesError(
            f"the limit of open files is {open_files}, but {asked or _MIN_CONNECTIONS} connections "
            f"need {needed}: raise it (ulimit -n)" + (" or lower --max-connections" * bool(asked))
        )
    if asked is not None:
        return settings
    if room < DEFAULT_CONNECTIONS:
        log.warning(
            "the limit of open files allows few connections",
            max_connections=room,
            open_files=open_files,
        )
    return settings.model_copy(update={"max_connections": min(room, DEFAULT_CONNECTIONS)})


def _addresses(host: str) -> int:
    """The number of addresses that a host stands for; 1 if it is unknown, which binding reports."""
    try:
        found = socket.getaddrinfo(
            host.removeprefix("[").removesuffix("]"),
            0,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except OSError:
        return 1
    return len({address[4] for address in found})
