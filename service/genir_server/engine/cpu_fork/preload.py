"""What an engine core and its worker import: loaded once by the process that they are forked from.

Python's fork server imports this before anything else. Its program begins again here, once, in the
environment that vLLM will give the worker, which libraries read when they are loaded. What cannot
be imported here is left to the process that needs it, which says what is wrong.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from genir_server.engine.cpu_fork.worker_environment import begins_with, foreseen_environment

_BEGUN_AGAIN = "GENIR_TEMPLATE_BEGUN_AGAIN"
_FORK_SERVER = "multiprocessing.forkserver"
# Later ones read a secret from their starter before this.
_FIRST_PYTHON_NOT_TRIED = (3, 14)

TEMPLATE = os.getpid()
"""The process that imports this, and forks."""

_is_begun_again = os.environ.get(_BEGUN_AGAIN) == str(TEMPLATE)
if (
    not _is_begun_again
    and _FORK_SERVER in sys.orig_argv[-1]
    and sys.version_info < _FIRST_PYTHON_NOT_TRIED
):
    # What goes wrong here costs the worker its short start, and nothing else.
    with suppress(Exception):
        _foreseen = foreseen_environment()
        if _foreseen:
            os.execve(  # noqa: S606 - the same program
                sys.executable,
                sys.orig_argv,
                {**os.environ, **_foreseen, _BEGUN_AGAIN: str(TEMPLATE)},
            )

# Nobody has configured this process's log, and the server imports and says the same.
logging.disable()
with suppress(Exception), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import setproctitle

    # It looks for its place in memory the first time, and finds none once the environment has been
    # touched, which it is in every core.
    setproctitle.getproctitle()
    # A collection finds nothing to collect among modules, again and again.
    gc.disable()
    import vllm.v1.engine.core
    import vllm.v1.executor.multiproc_executor
    import vllm.v1.structured_output.backend_guidance
    import vllm.v1.worker.cpu_worker  # noqa: F401

    import genir_server.engine.jump_forward.scheduler  # noqa: F401
logging.disable(logging.NOTSET)
# A collection would copy the pages that are shared with every core.
gc.freeze()
gc.enable()

BEGAN_WITH = begins_with(os.environ)
"""What this program began with, and what vLLM's import adds, as it does in the server."""

BOUND_TO = os.sched_getaffinity(0)
"""The CPUs that OpenMP has bound the thread to that loaded it: the first of those it was given."""

IS_WORKERS_PROGRAM = _is_begun_again and len(list(Path("/proc/self/task").iterdir())) == 1
"""Whether a worker may be forked: OpenMP does not survive that once it has threads."""
