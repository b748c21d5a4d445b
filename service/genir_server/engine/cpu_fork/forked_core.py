"""What an engine core does if it was forked from the fork server."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

_PRELOAD = "genir_server.engine.cpu_fork.preload"


def fork_server_pid() -> int | None:
    """Process id of the fork server that this process was forked from; None if it was not."""
    preload = _preload()
    return None if preload is None else int(preload.FORK_SERVER_PID)


def settle_forked_core(cpus: Iterable[int], at_worker_start: Callable[[], object]) -> None:
    """Makes a forked engine core what it would be as a program of its own.

    Also lets it fork its worker, if the fork server is fit for that. Does nothing in a process that
    was not forked.

    Args:
        cpus: the CPUs of the process that asked for the engine core.
        at_worker_start: called in a forked worker before vLLM's own code.

    """
    preload = _preload()
    if preload is None:
        return
    with suppress(OSError):
        # OpenMP has bound the fork server to some CPUs, and a fork inherits that.
        os.sched_setaffinity(0, cpus)
    multiprocessing.set_start_method("spawn", force=True)
    if preload.CAN_FORK_WORKERS:
        from genir_server.engine.cpu_fork.forked_worker import fork_workers

        fork_workers(preload.START_ENVIRONMENT, preload.BOUND_CPUS, at_worker_start)


def _preload() -> ModuleType | None:
    # Only the fork server imports this module, so only its children have it.
    return sys.modules.get(_PRELOAD)
