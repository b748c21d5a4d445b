"""What an engine core does if it was forked from the fork server."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from genir_server.engine.parent_watch import end_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

_PRELOAD = "genir_server.engine.cpu_fork.preload"


def fork_server_pid() -> int | None:
    """Process id of the fork server that this process was forked from; None if it was not."""
    preload = _preload()
    return None if preload is None else int(preload.FORK_SERVER_PID)


def settle_forked_core(environment: Mapping[str, str], cpus: Iterable[int]) -> None:
    """Makes a forked engine core what it would be as a program of its own.

    Also lets it fork its worker, if the fork server is fit for that.

    Args:
        environment: the environment of the process that asked for the engine core.
        cpus: the CPUs of that process.

    """
    _adopt_environment(environment)
    with suppress(OSError):
        # OpenMP has bound the fork server to some CPUs, and a fork inherits that.
        os.sched_setaffinity(0, cpus)
    multiprocessing.set_start_method("spawn", force=True)
    preload = _preload()
    if preload is not None and preload.CAN_FORK_WORKERS:
        from genir_server.engine.cpu_fork.forked_worker import fork_workers

        fork_workers(preload.START_ENVIRONMENT, preload.BOUND_CPUS, partial(end_with, os.getpid()))


def _adopt_environment(environment: Mapping[str, str]) -> None:
    # Changes only what differs: after any change a process can no longer set its title.
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _preload() -> ModuleType | None:
    # Only the fork server imports this module, so only its children have it.
    return sys.modules.get(_PRELOAD)
