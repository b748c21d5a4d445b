"""A process with vLLM imported, from which the engine core's process is forked.

vLLM is imported three times before an engine is up, each time for many seconds on one core: by the
server, then by the engine core's process, then by its worker's. Here the second import is made
beside the first, by Python's fork server (`multiprocessing.forkserver`), which the core is then
forked from with everything loaded. It stays, so that a core that takes the place of a lost one is
there at once. vLLM does the same for its own HTTP server where it is asked to.

The fork server has no threads, sockets or locks of this server's: it is another program from its
start. It begins in the environment that vLLM will want for the worker, so that the core can fork
that too (`core_imports`, `worker_fork`), and the third import is made by nobody.
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
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

Engine = TypeVar("Engine")

_IMPORTS = "genir_server.engine.cpu_fork.preload"


def begin_template() -> None:
    """Starts the process, if it is not there, and does not wait for its imports.

    A new one has the environment of this moment (and what `core_imports` adds), its open standard
    files and its signal mask. When this process and the cores have ended it ends too, but finishes
    its imports first: `end_template`.
    """
    multiprocessing.set_forkserver_preload([_IMPORTS])
    forkserver.ensure_running()


def end_template() -> None:
    """Ends the process at once, if there is one, and with it the cores that were forked from it."""
    # Python tells nobody its process id.
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # noqa: SLF001
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    # Python removes the folder of the socket in an exit handler, which a server does not wait for.
    address = getattr(forkserver._forkserver, "_forkserver_address", None)  # noqa: SLF001
    folder = Path(address).parent if isinstance(address, str) else None
    if folder is not None and folder.name.startswith("pymp-"):
        shutil.rmtree(folder, ignore_errors=True)


def with_forked_core(construct: Callable[[], Engine]) -> Engine:
    """What `construct` gives, with the engine core that it starts forked from the process.

    If that process dies meanwhile, as one does where memory is short, it is constructed once more,
    and the core is started as vLLM does by itself.
    """
    try:
        with _cores_from_template():
            return construct()
    except (OSError, EOFError) as error:
        logger.warning("the engine core could not be forked, and is started anew: %r", error)
        return construct()


@contextmanager
def _cores_from_template() -> Iterator[None]:
    """Lets vLLM fork its engine cores from the process of `begin_template` meanwhile.

    The environment goes along with `EngineProcessConfig`. Where vLLM is made otherwise than is
    known here, it starts the core's process as it does by itself.
    """
    from vllm.v1.engine import utils

    name = "get_mp_context"
    usual = getattr(utils, name, None)
    if usual is None:
        yield
        return
    setattr(utils, name, lambda: multiprocessing.get_context("forkserver"))
    try:
        yield
    finally:
        setattr(utils, name, usual)
