"""Lets vLLM fork its worker from the engine core, where that saves the worker its imports.

On a CPU vLLM starts a worker as a new program, because libraries read its environment when a
program begins. A core whose program began with that very environment (`core_imports`) can be forked
instead, as vLLM does it on other platforms.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from typing import TYPE_CHECKING

from genir_server.engine.worker_environment import begins_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

_MAKE = "make_worker_process"
_MAIN = "worker_main"
_CONTEXT = "get_mp_context"


def fork_workers(began_with: Mapping[str, str], at_begin: Callable[[], object]) -> None:
    """Makes vLLM fork each worker that would begin as this process did.

    Where vLLM is made otherwise than is known here, or wants another environment, it starts the
    worker as it does by itself.

    Args:
        began_with: what this process began with, see `worker_environment.begins_with`.
        at_begin: called first in a forked worker.

    """
    from vllm.v1.executor import multiproc_executor

    worker = multiproc_executor.WorkerProc
    make: Callable[..., object] | None = getattr(worker, _MAKE, None)
    main: Callable[..., object] | None = getattr(worker, _MAIN, None)
    usual = getattr(multiproc_executor, _CONTEXT, None)
    if make is None or main is None or usual is None:
        return

    def begin(**kwargs: object) -> object:
        _bind_as_openmp_has(began_with)
        at_begin()
        return main(**kwargs)

    def make_forked(**kwargs: object) -> object:
        wanted = begins_with(os.environ)
        if wanted != began_with:
            names = sorted(
                name
                for name in wanted.keys() | began_with.keys()
                if wanted.get(name) != began_with.get(name)
            )
            logger.info("the worker is not forked: it begins with another %s", ", ".join(names))
            return make(**kwargs)
        logger.info("the worker is forked: it has nothing to import")
        setattr(multiproc_executor, _CONTEXT, lambda: multiprocessing.get_context("fork"))
        setattr(worker, _MAIN, staticmethod(begin))
        try:
            # The worker closes the ends of its pipes that are not its own: those that are listed.
            return make(**{**kwargs, "inherited_fds": kwargs.get("inherited_fds") or []})
        finally:
            setattr(multiproc_executor, _CONTEXT, usual)
            setattr(worker, _MAIN, staticmethod(main))

    setattr(worker, _MAKE, staticmethod(make_forked))


def _bind_as_openmp_has(began_with: Mapping[str, str]) -> None:
    """OpenMP bound the thread that loaded it to the first of its CPUs, and takes it to be there."""
    cpus = began_with.get("GOMP_CPU_AFFINITY", "").split()
    if cpus:
        os.sched_setaffinity(0, {int(cpus[0])})
