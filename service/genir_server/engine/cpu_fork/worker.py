"""Lets vLLM fork its worker from the engine core, where that saves the worker its imports.

On a CPU vLLM starts a worker as a new program, because libraries read its environment when a
program begins. A core whose program began with that very environment (`core_imports`) can be forked
instead, as vLLM does it on other platforms.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from genir_server.engine.cpu_fork.worker_environment import begins_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

logger = logging.getLogger(__name__)

_MAKE = "make_worker_process"
_MAIN = "worker_main"
_CONTEXT = "get_mp_context"
# ZeroMQ's own, of sockets that a forked process does not touch.
_SAFE_THREADS = "ZMQbg"

FORKED = "the worker is forked: it has nothing to import"
"""What the log says when it is."""


def fork_workers(
    began_with: Mapping[str, str], bound_to: Iterable[int], at_begin: Callable[[], object]
) -> None:
    """Makes vLLM fork each worker that would begin as this process did.

    Where vLLM is made otherwise than is known here, or wants another environment, or something has
    started threads of a library's, vLLM starts the worker as it does by itself.

    Args:
        began_with: what this process began with, see `worker_environment.begins_with`.
        bound_to: the CPUs that OpenMP takes a worker's first thread to be bound to.
        at_begin: called in a forked worker before vLLM's own beginning.

    """
    from vllm.v1.executor import multiproc_executor

    worker = multiproc_executor.WorkerProc
    make: Callable[..., object] | None = getattr(worker, _MAKE, None)
    main: Callable[..., object] | None = getattr(worker, _MAIN, None)
    usual = getattr(multiproc_executor, _CONTEXT, None)
    if make is None or main is None or usual is None:
        return

    def begin(**kwargs: object) -> object:
        # Until vLLM has its own, the core's handler would only tell the core's part of this memory.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.sched_setaffinity(0, bound_to)
        # As in a worker of vLLM's: a process that it starts is a new program.
        multiprocessing.set_start_method("spawn", force=True)
        at_begin()
        return main(**kwargs)

    def make_forked(**kwargs: object) -> object:
        reason = obstacle(began_with)
        if reason:
            logger.info("the worker is not forked: %s", reason)
            return make(**kwargs)
        logger.info(FORKED)
        setattr(multiproc_executor, _CONTEXT, lambda: multiprocessing.get_context("fork"))
        setattr(worker, _MAIN, staticmethod(begin))
        try:
            # The worker closes the ends of its pipes that are not its own: those that are listed.
            return make(**{**kwargs, "inherited_fds": kwargs.get("inherited_fds") or []})
        finally:
            setattr(multiproc_executor, _CONTEXT, usual)
            setattr(worker, _MAIN, staticmethod(main))

    setattr(worker, _MAKE, staticmethod(make_forked))


def obstacle(began_with: Mapping[str, str]) -> str:
    """Why a worker cannot be forked now; empty if it can."""
    wanted = begins_with(os.environ)
    if wanted != began_with:
        names = sorted(
            name
            for name in wanted.keys() | began_with.keys()
            if wanted.get(name) != began_with.get(name)
        )
        return f"it begins with another {', '.join(names)}"
    thread = foreign_thread()
    return f"there is a thread {thread!r} already" if thread else ""


def foreign_thread() -> str:
    """The name of a thread that a library has made, such as OpenMP's; empty for none."""
    known = {thread.native_id for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except OSError:
            # It has ended.
            continue
        if int(task.name) not in known and not name.startswith(_SAFE_THREADS):
            return name
    return ""
