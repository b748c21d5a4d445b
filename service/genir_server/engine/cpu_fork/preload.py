"""What the fork server imports before anything else, for the engine core and its worker.

Importing this module restarts the fork server's program once, with the environment that vLLM will
give the worker, because libraries read that when they are loaded. An import that fails here is left
to the process that needs it, which reports the cause.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from genir_server.engine.cpu_fork.worker_environment import (
    predicted_environment,
    start_environment,
)
from genir_server.patch_table.fits import applies

_RESTARTED = "GENIR_FORK_SERVER_RESTARTED"
_PROGRAM = "multiprocessing.forkserver"

FORK_SERVER_PID = os.getpid()
"""Process id of the fork server, the process that imports this module."""

_is_restarted = os.environ.get(_RESTARTED) == str(FORK_SERVER_PID)
if not _is_restarted and _PROGRAM in sys.orig_argv[-1] and applies("fork server"):
    # A failure here only costs the worker its short start.
    with suppress(Exception):
        _environment = predicted_environment()
        if _environment:
            os.execve(  # noqa: S606 - the same program
                sys.executable,
                sys.orig_argv,
                {**os.environ, **_environment, _RESTARTED: str(FORK_SERVER_PID)},
            )

# The log of this process is not configured, and the server's own import logs the same messages.
logging.disable()
with suppress(Exception), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import setproctitle

    # Its first call looks for the environment's place in memory, and fails in an engine core, which
    # has changed its environment by then.
    setproctitle.getproctitle()
    # There is no garbage to collect while modules load.
    gc.disable()
    import vllm.v1.engine.core
    import vllm.v1.executor.multiproc_executor
    import vllm.v1.structured_output.backend_guidance
    import vllm.v1.worker.cpu_worker  # noqa: F401

    import genir_server.engine.jump_forward.scheduler  # noqa: F401
logging.disable(logging.NOTSET)
# A collection would copy the pages that every engine core shares with this process.
gc.freeze()
gc.enable()

START_ENVIRONMENT = start_environment(os.environ)
"""The part of the environment that counts at a program's start, including vLLM's own additions."""

BOUND_CPUS = os.sched_getaffinity(0)
"""The CPUs that OpenMP has bound the loading thread to: the first of those it was given."""

CAN_FORK_WORKERS = _is_restarted and len(list(Path("/proc/self/task").iterdir())) == 1
"""Whether workers may be forked. OpenMP does not survive a fork once it has started threads."""
