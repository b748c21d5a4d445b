"""Runs genir's own code inside the processes that vLLM starts for the engine.

vLLM runs the engine core in a process of its own, and on a CPU or several GPUs its workers in
further ones. It has no hook for the start of a process, but it sends its configuration to each
process (except a forked worker) by pickle, with a field `additional_config` for other purposes.
`EngineProcessConfig` travels in that field. Unpickling it in another process

- sends the process's log through the server's pipe, and its standard output to standard error,
- writes the progress of the load where the server finds it (`load_progress`),
- makes a process that fails to start write the cause where the server finds it (`start_fault`),
- gives a forked process the environment and the CPUs of the process that started it,
- ends the process when the process that started it has died, however it died,
- makes the engine core cache compiled grammars (`patches.grammar_cache`),
- lets a forked engine core fork its worker (`cpu_fork.forked_core`),
- adds utility methods to the engine core: `BACKEND_UTILITY`, `JUMP_FORWARD_UTILITY` and
  `PATCHES_UTILITY`.

The first of them is how the structured-output backend is *observed*: it returns the class of the
object that computes the token masks, in the process that computes them. vLLM's configuration holds
only what was requested, and with "auto" not even that. The engine core answers a utility call
between two steps; it does not affect scheduling. The alternatives are worse: a scheduler class of
our own would replace one that vLLM chooses, and a worker extension runs in a process that has no
structured-output manager.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from genir_server.engine.cpu_fork.forked_core import fork_server_pid, settle_forked_core
from genir_server.engine.vllm.load_progress import write_progress
from genir_server.engine.vllm.start_fault import write_start_faults
from genir_server.patch_table.fits import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vllm.v1.engine.core import EngineCore

BACKEND_UTILITY = "genir_structured_output_backend"
"""Utility method of the engine core: the name of the backend in use; "" before its first use."""

JUMP_FORWARD_UTILITY = "genir_jump_forward_counts"
"""Utility method of the engine core: the fields of `JumpForwardCounts` by name; empty if another
scheduler is in use."""

PATCHES_UTILITY = "genir_patch_outcomes"
"""Utility method of the engine core: what `patch_table.fits.outcomes` gives there."""

PARENT_CHECK_SECONDS = 0.2
"""Seconds between two checks that the parent process is alive."""

_entered = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a new program inherits and a forked process does not: environment and CPUs."""

    environment: Mapping[str, str]
    cpus: Iterable[int]


class EngineProcessConfig(dict[str, Any]):
    """vLLM's `additional_config`, with the code that an engine process runs first.

    Args:
        additional_config: the operator's value of that field.
        configure_logging: called in each of the engine's processes; None for plain lines.
        start_fault: path for the cause of a failed start, see `start_fault`; "" for none.
        load_progress: path for the progress of the load, see `load_progress`; "" for none.
        server_pid: process id of the process in which unpickling does nothing; None for this one.

    """

    def __init__(
        self,
        additional_config: Mapping[str, Any],
        configure_logging: Callable[[], None] | None,
        start_fault: str = "",
        load_progress: str = "",
        server_pid: int | None = None,
    ) -> None:
        super().__init__(additional_config)
        self.configure_logging = configure_logging
        self.start_fault = start_fault
        self.load_progress = load_progress
        self.server_pid = server_pid or os.getpid()

    def __reduce__(self) -> tuple[Callable[..., EngineProcessConfig], tuple[Any, ...]]:
        """Makes unpickling, and a deep copy, a call of `_enter`."""
        paths = (self.start_fault, self.load_progress)
        arguments = (dict(self), self.configure_logging, paths, self.server_pid)
        surroundings = _Surroundings(dict(os.environ), os.sched_getaffinity(0))
        return _enter, (*arguments, surroundings)


def _enter(
    additional_config: Mapping[str, Any],
    configure_logging: Callable[[], None] | None,
    paths: tuple[str, str],
    server_pid: int,
    surroundings: _Surroundings,
) -> EngineProcessConfig:
    global _entered  # noqa: PLW0603  # Workers get a second pickle; only the first one counts.
    if os.getpid() != server_pid and not _entered:
        _entered = True
        _adopt_environment(surroundings.environment)
        # Nothing that a library prints may appear on the standard output of the server's command.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        (configure_logging or _plain_logging)()
        start_fault, load_progress = paths
        if start_fault:
            write_start_faults(start_fault)
        if load_progress:
            write_progress(load_progress)
        _end_with(fork_server_pid() or os.getppid())
        _add_utilities()
        _cache_grammars()
        settle_forked_core(surroundings.cpus, partial(_end_with, os.getpid()))
    return EngineProcessConfig(additional_config, configure_logging, *paths, server_pid)


def _plain_logging() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(asctime)s %(processName)s %(message)s"
    )


def _end_with(parent: int) -> None:
    """Ends this process when its parent has died."""

    def watch() -> None:
        # The kernel's parent-death signal depends on the *thread* that started this process.
        while os.getppid() == parent and not _starter_has_died():
            time.sleep(PARENT_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="genir-parent-watch", daemon=True).start()


def _starter_has_died() -> bool:
    """Whether the process that asked for this one has died; a forked core has another parent."""
    starter = multiprocessing.parent_process()
    return starter is not None and not starter.is_alive()


def _adopt_environment(environment: Mapping[str, str]) -> None:
    # Changes only what differs: after any change a process can no longer set its title.
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _add_utilities() -> None:
    core = sys.modules.get("vllm.v1.engine.core")
    if core is not None:
        setattr(core.EngineCore, BACKEND_UTILITY, _backend_in_use)
        setattr(core.EngineCore, JUMP_FORWARD_UTILITY, _jump_forward_counts)
        setattr(core.EngineCore, PATCHES_UTILITY, _patch_outcomes)


def _cache_grammars() -> None:
    if "vllm.v1.structured_output.backend_guidance" in sys.modules:
        from genir_server.engine.patches.grammar_cache import cache_compiled_grammars

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
