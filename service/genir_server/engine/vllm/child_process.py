"""What genir needs to happen inside the processes that vLLM starts for the engine.

vLLM runs the engine core in a process of its own, and on a CPU or several GPUs its workers in
further ones. It offers no hook for the moment they start, but it does send its configuration to
each (but a forked worker) by pickle, with a field (`additional_config`) for things that are not
its own. `EngineProcessConfig` travels there; unpickling it in another process than the one that
made it

- sends that process's log through the server's pipe, and its standard output to standard error,
- has a process that fails to start leave the reason where the server finds it,
- gives the process the environment and the CPUs of the one that started it, which a forked one has
  not,
- ends the process when the one that started it is gone, however that died,
- gives memory that it has freed back to the system (`memory_return`),
- keeps the engine core from compiling a schema again that it has compiled (`grammar_reuse`),
- lets the engine core fork its worker, if it was itself forked from the right process
  (`worker_fork`),
- gives the engine core two more utility methods, `BACKEND_UTILITY` and `JUMP_FORWARD_UTILITY`.

The first is how the structured-output backend is *observed*: it answers with the class of the
object that makes the token masks, in the process that makes them. vLLM's own configuration says
only what was asked for, and with "auto" not even that. A utility call is answered between two
steps, costs nothing when it is not made, and changes nothing in how requests are scheduled; the
alternatives (a scheduler class of our own, a worker extension) either replace a part that vLLM
chooses by itself or run in a process that has no structured-output manager.
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
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from genir_server.engine.patches.memory_return import return_memory_from_now_on
from genir_server.engine.vllm.start_fault import leave_start_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from vllm.v1.engine.core import EngineCore

BACKEND_UTILITY = "genir_structured_output_backend"
"""Name of the engine core's utility method that names the backend in use; "" before its first."""

JUMP_FORWARD_UTILITY = "genir_jump_forward_counts"
"""Name of the engine core's utility method that gives the fields of `JumpForwardCounts` by name;
none where another scheduler is in use."""

PARENT_CHECK_SECONDS = 0.2

_entered = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a program has from the one that started it: its environment, and its CPUs."""

    environment: Mapping[str, str]
    cpus: Iterable[int]


class EngineProcessConfig(dict[str, Any]):
    """vLLM's `additional_config`, with what an engine process does first.

    Args:
        additional_config: what the operator put into that field.
        configure_logging: called in each of the engine's processes; None for plain lines.
        start_fault: file for the reason of a failed start, see `start_fault`; empty for none.
        server_pid: the process in which unpickling this does nothing.

    """

    def __init__(
        self,
        additional_config: Mapping[str, Any],
        configure_logging: Callable[[], None] | None,
        start_fault: str = "",
        server_pid: int | None = None,
    ) -> None:
        super().__init__(additional_config)
        self.configure_logging = configure_logging
        self.start_fault = start_fault
        self.server_pid = server_pid or os.getpid()

    def __reduce__(self) -> tuple[Callable[..., EngineProcessConfig], tuple[Any, ...]]:
        """Unpickling, and a deep copy, is a call of `_enter`."""
        arguments = (dict(self), self.configure_logging, self.start_fault, self.server_pid)
        surroundings = _Surroundings(dict(os.environ), os.sched_getaffinity(0))
        return _enter, (*arguments, surroundings)


def _enter(
    additional_config: Mapping[str, Any],
    configure_logging: Callable[[], None] | None,
    start_fault: str,
    server_pid: int,
    surroundings: _Surroundings,
) -> EngineProcessConfig:
    global _entered  # noqa: PLW0603  # A process is entered once; workers get a second pickle.
    if os.getpid() != server_pid and not _entered:
        _entered = True
        _take_over(surroundings.environment)
        # Whatever a library prints must not end up in the output of the server's command.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        (configure_logging or _plain_logging)()
        if start_fault:
            leave_start_faults(start_fault)
        template = sys.modules.get("genir_server.engine.cpu_fork.preload")
        _watch(os.getppid() if template is None else template.TEMPLATE)
        _add_utilities()
        _reuse_grammars()
        if template is not None:
            _settle_forked_core(template, surroundings.cpus)
    return EngineProcessConfig(additional_config, configure_logging, start_fault, server_pid)


def _plain_logging() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(asctime)s %(processName)s %(message)s"
    )


def _watch(parent: int) -> None:
    """Starts the threads that each of the engine's processes has."""
    _end_with(parent)
    return_memory_from_now_on()


def _end_with(parent: int) -> None:
    def watch() -> None:
        # The kernel's own death signal is bound to the *thread* that started this process.
        while os.getppid() == parent and not _starter_is_gone():
            time.sleep(PARENT_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="genir-parent-watch", daemon=True).start()


def _starter_is_gone() -> bool:
    """Whether the process that asked for this one is gone; a forked core's parent is another."""
    starter = multiprocessing.parent_process()
    return starter is not None and not starter.is_alive()


def _take_over(environment: Mapping[str, str]) -> None:
    # Only what differs: a process that has touched its environment cannot set its title any more.
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


def _reuse_grammars() -> None:
    if "vllm.v1.structured_output.backend_guidance" in sys.modules:
        from genir_server.engine.patches.grammar_cache import reuse_compiled_grammars

        reuse_compiled_grammars()


def _settle_forked_core(template: ModuleType, cpus: Iterable[int]) -> None:
    """Makes a core what it would be as a program of its own, and lets it fork its worker."""
    with suppress(OSError):
        # OpenMP bound the process that this one was forked from.
        os.sched_setaffinity(0, cpus)
    multiprocessing.set_start_method("spawn", force=True)
    if template.IS_WORKERS_PROGRAM:
        from genir_server.engine.cpu_fork.worker import fork_workers

        fork_workers(template.BEGAN_WITH, template.BOUND_TO, partial(_watch, os.getpid()))


def _backend_in_use(engine_core: EngineCore) -> str:
    return backend_name(engine_core.structured_output_manager.backend)


def _jump_forward_counts(engine_core: EngineCore) -> dict[str, int]:
    counts = getattr(engine_core.scheduler, "jump_forward_counts", None)
    return {} if counts is None else dataclasses.asdict(counts)


def backend_name(backend: object | None) -> str:
    """The name that vLLM's configuration uses for a backend object: "" for None.

    >>> class LMFormatEnforcerBackend: ...
    >>> backend_name(LMFormatEnforcerBackend())
    'lm-format-enforcer'
    """
    if backend is None:
        return ""
    name = type(backend).__name__.removesuffix("Backend")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
