"""Runs genir's own code inside the processes that vLLM starts for the engine.

vLLM runs the engine core in a process of its own, and its workers in further ones, in Ray actors or
on other machines. Each of them loads the plugins that installed packages declare as
``vllm.general_plugins``. `register` is genir's. In a process of an engine that genir started, it

- sends the process's log through the server's pipe, and its standard output to standard error,
- writes the progress of the load where the server finds it (`load_progress`),
- makes a process that fails to start write the cause where the server finds it (`start_fault`),
- ends the process when the process that started it has died, however it died,
- makes the engine core force texts as they stand (`patches.forced_texts`) and cache compiled
  grammars (`patches.grammar_cache`),
- lets the process end without a search for garbage (`patches.quick_end`).

What it needs for that is in an environment variable, `environment.VARIABLE`, as plain data. In
every process that has an engine core, also one that another program started, it adds utility
methods to the core: `BACKEND_UTILITY`, `JUMP_FORWARD_UTILITY` and `PATCHES_UTILITY`, and lets
grammars begin in the middle (`patches.resume`), which acts only on requests that ask for it. So a
core on another machine has them too.

The first of them is how the structured-output backend is *observed*: it returns the class of the
object that computes the token masks, in the process that computes them. vLLM's configuration holds
only what was requested, and with "auto" not even that. The engine core answers a utility call
between two steps; it does not affect scheduling. The alternatives are worse: a scheduler class of
our own would replace one that vLLM chooses, and a worker extension runs in a process that has no
structured-output manager.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import re
import sys
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from genir_server.engine.cpu_fork.forked_core import fork_server_pid
from genir_server.engine.parent_watch import end_with
from genir_server.engine.patches.quick_end import end_without_garbage_collection
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.environment import PLUGIN, VARIABLE
from genir_server.engine.vllm.load_progress import write_progress
from genir_server.engine.vllm.start_fault import write_start_faults
from genir_server.patch_table.fits import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.v1.engine.core import EngineCore

    from genir_server.engine.config import LogSetup

BACKEND_UTILITY = "genir_structured_output_backend"
"""Utility method of the engine core: the name of the backend in use; "" before its first use."""

JUMP_FORWARD_UTILITY = "genir_jump_forward_counts"
"""Utility method of the engine core: the fields of `JumpForwardCounts` by name; empty if another
scheduler is in use."""

PATCHES_UTILITY = "genir_patch_outcomes"
"""Utility method of the engine core: what `patch_table.fits.outcomes` gives there."""

_entered = False


@contextmanager
def engine_processes(
    log: LogSetup | None, start_fault: str = "", load_progress: str = ""
) -> Iterator[None]:
    """Settings of the engine's processes that are started inside the block.

    Args:
        log: sets up the log of each; None for plain lines.
        start_fault: path for the cause of a failed start, see `start_fault`; "" for none.
        load_progress: path for the progress of the load, see `load_progress`; "" for none.

    Raises:
        EngineStartError: vLLM does not find the plugin.

    """
    if not entry_points(group="vllm.general_plugins", name=PLUGIN):
        raise EngineStartError(
            "vLLM does not find genir's plugin: install genir again (pip install --no-deps)"
        )
    settings = {
        # Nothing is to happen in this process itself.
        "server_pid": os.getpid(),
        "start_fault": start_fault,
        "load_progress": load_progress,
        "log": None if log is None else dataclasses.astuple(log),
    }
    os.environ[VARIABLE] = json.dumps(settings)
    try:
        yield
    finally:
        # Another program that this process starts is no process of the engine.
        del os.environ[VARIABLE]


def register() -> None:
    """Called by vLLM in each process that loads its plugins, at least once."""
    global _entered  # noqa: PLW0603  # vLLM may call it again.
    _extend_core()
    settings = json.loads(os.environ.get(VARIABLE, "{}"))
    if not settings or settings["server_pid"] == os.getpid() or _entered:
        return
    _entered = True
    # Nothing that a library prints may appear on the standard output of the server's command.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _set_up_log(settings["log"])
    if settings["start_fault"]:
        write_start_faults(settings["start_fault"])
    if settings["load_progress"]:
        write_progress(settings["load_progress"])
    end_with(fork_server_pid() or os.getppid())
    _patch_grammars()
    end_without_garbage_collection()


def _set_up_log(log: tuple[str, str, list[str]] | None) -> None:
    if log is None:
        _plain_logging()
        return
    module, function, arguments = log
    getattr(importlib.import_module(module), function)(*arguments)


def _plain_logging() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(asctime)s %(processName)s %(message)s"
    )


def _extend_core() -> None:
    core = sys.modules.get("vllm.v1.engine.core")
    if core is not None:
        from genir_server.engine.patches.resume import resume_grammars

        setattr(core.EngineCore, BACKEND_UTILITY, _backend_in_use)
        setattr(core.EngineCore, JUMP_FORWARD_UTILITY, _jump_forward_counts)
        setattr(core.EngineCore, PATCHES_UTILITY, _patch_outcomes)
        resume_grammars()


def _patch_grammars() -> None:
    if "vllm.v1.structured_output.backend_guidance" in sys.modules:
        from genir_server.engine.patches.forced_texts import force_texts_as_they_stand
        from genir_server.engine.patches.grammar_cache import cache_compiled_grammars

        force_texts_as_they_stand()
        cache_compiled_grammars()


def _patch_outcomes(_engine_core: EngineCore) -> dict[str, str]:
    return outcomes()


def _backend_in_use(engine_core: EngineCore) -> str:
    return backend_name(engine_core.structured_output_manager.backend)


def _jump_forward_counts(engine_core: EngineCore) -> dict[str, int]:
    counts = getattr(engine_core.scheduler, "jump_forward_counts", None)
    return {} if counts is None else dataclasses.asdict(counts)


def backend_name(backend: object | None) -> str:
    """The name that vLLM's configuration uses for a backend object; "" for None.

    >>> class LMFormatEnforcerBackend: ...
    >>> backend_name(LMFormatEnforcerBackend())
    'lm-format-enforcer'
    """
    if backend is None:
        return ""
    name = type(backend).__name__.removesuffix("Backend")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
