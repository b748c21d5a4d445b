"""What each signal does to the server; docs/operations.md has the table.

The default action of most signals ends a process at once, without a drain. Handlers, unlike ignored
signals, do not pass to programs that a process starts: a schema worker needs SIGPROF, for example.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""Signals that drain and stop the server; a second one ends it at once."""

RELOADING = signal.SIGHUP
TOGGLING_READINESS = signal.SIGUSR1

IGNORED = (
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGIO,
    signal.SIGPWR,
    signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)
"""Signals without a meaning for the server, which would otherwise end it.

Not SIGPROF, with which a schema worker limits a job, and not SIGQUIT, which ends a server that does
not react to anything else.
"""

log = structlog.get_logger("genir.server")


def ignore_until_handled() -> None:
    """Ignores signals that must not end a server that is not listening yet.

    Only signals that stop the server end it then. Call it in the main thread.
    """
    for number in (RELOADING, TOGGLING_READINESS, *IGNORED):
        signal.signal(number, signal.SIG_IGN)


def handle_signals(
    *,
    stop: Callable[[signal.Signals], None],
    reload: Callable[[], None],
    toggle_readiness: Callable[[], None],
) -> None:
    """Handles all signals in the running loop from now on.

    Args:
        stop: called with each signal that stops the server.
        reload: called to reload the files that the server follows.
        toggle_readiness: called to turn readiness off or on.
    """
    loop = asyncio.get_running_loop()
    for stopping in STOPPING:
        loop.add_signal_handler(stopping, stop, stopping)
    loop.add_signal_handler(RELOADING, reload)
    loop.add_signal_handler(TOGGLING_READINESS, toggle_readiness)
    for number in IGNORED:
        loop.add_signal_handler(number, _ignore, number)


def _ignore(number: int) -> None:
    log.info("signal ignored", signal=_name(number))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
