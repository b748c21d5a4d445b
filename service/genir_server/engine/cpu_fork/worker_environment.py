"""The environment that vLLM begins a worker's program with on a CPU, foreseen before vLLM is there.

Libraries read it when they are loaded: OpenMP its threads and the CPUs they are bound to, the
loader what to load first, PyTorch how it compiles. vLLM works it out after its import, from the
machine and its configuration (``OMPProcessManager``, ``CpuPlatform.check_and_update_config``).
What is foreseen here may be wrong, on machines or with settings that are not as most: whoever uses
it compares it with what vLLM has decided.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_READ_AT_THE_BEGINNING = ("OMP_", "GOMP_", "KMP_", "TORCH", "LD_PRELOAD")
_CPUS = Path("/sys/devices/system/cpu")
_ALL_LOGICAL_CPUS = ("aarch64", "arm64")
_ONE_OF_A_CORE = ("x86_64", "AMD64")


def begins_with(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that counts when a program begins."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_AT_THE_BEGINNING)
    }


def foreseen_environment() -> dict[str, str]:
    """What vLLM will set for its first worker, beside what is set already.

    Only what a library reads when it is loaded. Nothing where that cannot be foreseen.
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
    """What vLLM has loaded first: PyTorch's OpenMP and an allocator, beside what an operator wants.

    Nothing for another OpenMP, which has variables of its own.
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
    """The library of a package that vLLM has loaded first; none where there is none."""
    spec = importlib.util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place)
        for libraries in (folder.with_name(f"{package}.libs"), folder / "lib", folder / "libs"):
            found = [str(path) for path in libraries.glob(pattern)]
            if found:
                return found[:1]
    return []


def _model_cpus() -> list[int]:
    """The CPUs that vLLM binds a model's threads to; none where that cannot be foreseen.

    By itself it takes one logical CPU of each core (on ARM all of them) of the first memory node,
    and leaves some free.
    """
    if os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto") != "auto":
        return []
    cpus = sorted(os.sched_getaffinity(0))
    nodes = {_node(cpu) for cpu in cpus}
    if len(nodes) > 1:
        return []
    machine = platform.machine()
    if machine in _ONE_OF_A_CORE:
        cpus = _last_of_each_core(cpus)
    elif machine not in _ALL_LOGICAL_CPUS:
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
