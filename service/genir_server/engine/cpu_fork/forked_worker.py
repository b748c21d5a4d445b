"""Lets vLLM fork its worker from the engine core, which saves the worker its imports.

On a CPU vLLM starts a worker as a new program, because libraries read its environment when a
program starts. An engine core whose program started with that very environment (`preload`) can be
forked instead, as vLLM does on other platforms.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genir_server.engine.cpu_fork.worker_environment import start_environment
from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

logger = logging.getLogger(__name__)

# ZeroMQ's own threads, of sockets that a forked process does not use.
_SAFE_THREADS = "ZMQbg"

FORKED = "the worker is forked: it has nothing to import"
"""The log message for a forked worker."""


def fork_workers(
    started_with: Mapping[str, str], bound_cpus: Iterable[int], at_start: Callable[[], object]
) -> None:
    """Makes vLLM fork each worker whose environment matches the one this process started with.

    In all other cases, and if a library has started threads, vLLM starts the worker in its own way.

    Args:
        started_with: the environment this process started with; see
            `worker_environment.start_environment`.
        bound_cpus: the CPUs that OpenMP expects a worker's first thread to be bound to.
        at_start: called in a forked worker before vLLM's own code.

    """
    if not applies("forked worker"):
        logger.info("the worker is not forked: %s", outcomes()["forked worker"])
        return
    from vllm.v1.executor import multiproc_executor

    executor: Any = multiproc_executor
    worker = executor.WorkerProc
    make: Callable[..., object] = worker.make_worker_process
    main: Callable[..., object] = worker.worker_main
    usual_context = executor.get_mp_context

    def start(**kwargs: object) -> object:
        # The engine core's handler would only set a flag in this process's copy of its memory.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.sched_setaffinity(0, bound_cpus)
        # As in a worker that vLLM starts: a process that it starts is a new program.
        multiprocessing.set_start_method("spawn", force=True)
        at_start()
        return main(**kwargs)

    def make_forked(**kwargs: object) -> object:
        reason = obstacle(started_with)
        if reason:
            logger.info("the worker is not forked: %s", reason)
            return make(**kwargs)
        logger.info(FORKED)
        executor.get_mp_context = lambda: multiprocessing.get_context("fork")
        worker.worker_main = staticmethod(start)
        try:
            # The worker closes those ends of its pipes that are not its own, if they are listed.
            return make(**{**kwargs, "inherited_fds": kwargs.get("inherited_fds") or []})
        finally:
            executor.get_mp_context = usual_context
            worker.worker_main = staticmethod(main)

    worker.make_worker_process = staticmethod(make_forked)


def obstacle(started_with: Mapping[str, str]) -> str:
    """Why a worker cannot be forked now; "" if it can."""
    wanted = start_environment(os.environ)
    if wanted != started_with:
        names = sorted(
            name
            for name in wanted.keys() | started_with.keys()
            if wanted.get(name) != started_with.get(name)
        )
        return f"its environment differs in {', '.join(names)}"
    thread = foreign_thread()
    return f"a library has started the thread {thread!r}" if thread else ""


def foreign_thread() -> str:
    """The name of a thread that a library such as OpenMP has started; "" if there is none."""
    known = {thread.native_id for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except OSError:
            # The thread has ended.
            continue
        if int(task.name) not in known and not name.startswith(_SAFE_THREADS):
            return name
    return ""
