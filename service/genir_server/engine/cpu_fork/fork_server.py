"""The fork server: a process with vLLM imported, from which the engine core is forked.

It is Python's own (`multiprocessing.forkserver`). It has none of this server's threads, sockets or
locks, because it starts as a new program. It stays alive while the server does, so that an engine
core that replaces a lost one starts at once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from genir_server.engine.cpu_fork.forked_core import settle_forked_core
from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

Engine = TypeVar("Engine")

_PRELOAD = "genir_server.engine.cpu_fork.preload"


def start_fork_server() -> bool:
    """Starts the fork server if it is not running; does not wait for its imports.

    It inherits the environment of this moment (plus what `preload` adds), the standard files and
    the signal mask. It ends by itself after this process and the engine cores, but finishes its
    imports first; `stop_fork_server` ends it at once.

    Returns:
        Whether it runs: this version of Python fits.

    """
    if not applies("fork server"):
        logger.info("the engine is not forked: %s", outcomes()["fork server"])
        return False
    multiprocessing.set_forkserver_preload([_PRELOAD])
    forkserver.ensure_running()
    return True


def stop_fork_server() -> None:
    """Kills the fork server, and with it the engine cores forked from it; does nothing if none."""
    if outcomes().get("fork server") != "":
        # It was never started.
        return
    # Python has no public way to learn the process id.
    server: Any = forkserver._forkserver  # noqa: SLF001
    pid, address = server._forkserver_pid, server._forkserver_address  # noqa: SLF001
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    # Python removes the socket's folder in an exit handler, which the server does not run.
    folder = Path(address).parent if isinstance(address, str) else None
    if folder is not None and folder.name.startswith("pymp-"):
        shutil.rmtree(folder, ignore_errors=True)


def fork_engine_core(construct: Callable[[], Engine]) -> Engine:
    """Calls `construct`, and has the engine core that it starts forked from the fork server.

    If the fork server dies meanwhile, for example because memory is short, `construct` is called
    once more, and vLLM starts the engine core in its own way.
    """
    if not applies("forked engine core"):
        logger.info("the engine core is not forked: %s", outcomes()["forked engine core"])
        return construct()
    try:
        with _fork_server_context():
            return construct()
    except (OSError, EOFError) as error:
        logger.warning("the engine core could not be forked and is started anew: %r", error)
        return construct()


class _ForkedCore(multiprocessing.context.ForkServerProcess):
    """A process that becomes what a new program would be before it runs anything."""

    def start(self) -> None:
        """Starts it, with the environment and the CPUs of this moment."""
        self._environment = dict(os.environ)
        self._cpus = os.sched_getaffinity(0)
        super().start()

    def run(self) -> None:
        """The new process's side."""
        settle_forked_core(self._environment, self._cpus)
        super().run()


class _Context(multiprocessing.context.ForkServerContext):
    Process = _ForkedCore


@contextmanager
def _fork_server_context() -> Iterator[None]:
    """Makes vLLM start its engine cores from the fork server."""
    from vllm.v1.engine import utils

    usual = utils.get_mp_context
    utils.get_mp_context = _Context
    try:
        yield
    finally:
        utils.get_mp_context = usual
