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

from genir_server.engine.worker_environment import begins_with, foreseen_environment

_CPUS = "GENIR_TEMPLATE_CPUS"
_FORK_SERVER = "multiprocessing.forkserver"
# Later ones read a secret from their starter before this.
_FIRST_PYTHON_NOT_TRIED = (3, 14)

if (
    _CPUS not in os.environ
    and _FORK_SERVER in sys.orig_argv[-1]
    and sys.version_info < _FIRST_PYTHON_NOT_TRIED
):
    _foreseen = foreseen_environment()
    if _foreseen:
        _cpus = ",".join(map(str, os.sched_getaffinity(0)))
        os.execve(  # noqa: S606 - the same program
            sys.executable, sys.orig_argv, {**os.environ, **_foreseen, _CPUS: _cpus}
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

    import genir_server.engine.jump_forward_scheduler  # noqa: F401
logging.disable(logging.NOTSET)
# A collection would copy the pages that are shared with every core.
gc.freeze()
gc.enable()

BEGAN_WITH = begins_with(os.environ)
"""What this program began with."""

IS_WORKERS_PROGRAM = _CPUS in os.environ and len(list(Path("/proc/self/task").iterdir())) == 1
"""Whether a worker may be forked: OpenMP does not survive that once it has threads."""

if _CPUS in os.environ:
    # OpenMP has bound this thread to the first of its CPUs. A core is bound to none.
    os.sched_setaffinity(0, map(int, os.environ[_CPUS].split(",")))
