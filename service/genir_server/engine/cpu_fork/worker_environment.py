"""Predicts the environment in which vLLM starts a worker on a CPU, before vLLM is imported.

Libraries read it when they are loaded: OpenMP its threads and the CPUs they are bound to, the
loader what to load first, PyTorch how it compiles. vLLM works it out after its import, from the
machine and its configuration (``OMPProcessManager``, ``CpuPlatform.check_and_update_config``). The
prediction may be wrong on unusual machines or with unusual settings, so `forked_worker` compares it
with vLLM's decision.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_READ_AT_START = ("OMP_", "GOMP_", "KMP_", "TORCH", "LD_PRELOAD")
_CPUS = Path("/sys/devices/system/cpu")
_ALL_CPUS_MACHINES = ("aarch64", "arm64")
_ONE_CPU_PER_CORE_MACHINES = ("x86_64", "AMD64")


def start_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that libraries read when a program starts."""
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


def predicted_environment() -> dict[str, str]:
    """The variables that vLLM will add for its first worker; empty if they cannot be predicted.

    Only those that a library reads when it is loaded.
    """
    preloaded = _preloaded(os.environ.get("LD_PRELOAD", ""))
    cpus = _model_cpus()
    if not preloaded or not cpus:
        return {}
    return {
        "LD_PRELOAD": preloaded,
        "OMP_NUM_THREADS": str(len(cpus)),
        "GOMP_CPU_AFFINITY": " ".join(map(str, cpus)),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1",
    }


def _preloaded(preloaded: str) -> str:
    """The libraries that vLLM preloads: PyTorch's OpenMP and an allocator, besides the operator's.

    Empty for another OpenMP, which has variables of its own.
    """
    libraries = [preloaded] if preloaded else []
    if "libomp" in preloaded or "libiomp" in preloaded:
        return ""
    if "libgomp" not in preloaded:
        openmp = _libraries("torch", "libgomp*.so*")
        if not openmp:
            return ""
        libraries += openmp
    if "libtcmalloc" not in preloaded:
        libraries = [*_libraries("vllm", "libtcmalloc*.so*"), *libraries]
    return ":".join(libraries)


def _libraries(package: str, pattern: str) -> list[str]:
    """The library of a package that vLLM preloads, as a list of at most one."""
    spec = importlib.util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place)
        for libraries in (folder.with_name(f"{package}.libs"), folder / "lib", folder / "libs"):
            found = [str(path) for path in libraries.glob(pattern)]
            if found:
                return found[:1]
    return []


def _model_cpus() -> list[int]:
    """The CPUs that vLLM binds a model's threads to; empty if they cannot be predicted.

    By default vLLM takes one logical CPU of each core (on ARM all of them) of the first memory
    node, and leaves some free.
    """
    if os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto") != "auto":
        return []
    cpus = sorted(os.sched_getaffinity(0))
    nodes = {_node(cpu) for cpu in cpus}
    if len(nodes) > 1:
        return []
    machine = platform.machine()
    if machine in _ONE_CPU_PER_CORE_MACHINES:
        cpus = _last_of_each_core(cpus)
    elif machine not in _ALL_CPUS_MACHINES:
        return []
    free = int(os.environ.get("VLLM_CPU_NUM_OF_RESERVED_CPU") or 1)
    return cpus[:-free] if 0 < free < len(cpus) else cpus


def _last_of_each_core(cpus: Iterable[int]) -> list[int]:
    cores: dict[str, int] = {}
    for cpu in cpus:
        try:
            siblings = (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            siblings = str(cpu)
        cores[siblings] = cpu
    return sorted(cores.values())


def _node(cpu: int) -> str:
    return next((path.name for path in (_CPUS / f"cpu{cpu}").glob("node[0-9]*")), "")
