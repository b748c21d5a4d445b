"""The environment variables that vLLM reads when it is imported, set before that."""

from __future__ import annotations

import importlib.metadata
import os

from genir_server.engine.config import CPU_KV_CACHE_GIB
from genir_server.engine.protocol import EngineStartError

_FEW_CPUS = 2


def threads_environment() -> dict[str, str]:
    """What lets vLLM's model have every CPU where there are few.

    Left to itself it keeps one free of the model's threads, which is half of two. On two cores,
    both make the embedded model a third faster.
    """
    few = len(os.sched_getaffinity(0)) <= _FEW_CPUS
    return {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0"} if few else {}


def installed_vllm() -> tuple[str, bool]:
    """The version of the installed vLLM, and whether it is a build for CPUs.

    Raises:
        EngineStartError: no vLLM is installed.

    """
    for distribution in ("vllm", "vllm-cpu"):
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version, distribution == "vllm-cpu" or "cpu" in version
    raise EngineStartError(
        "vLLM is not installed: install genir[gpu] on a machine with a GPU, or the CPU set in"
        " requirements/cpu.txt"
    )


def prepare_environment(*, sized: bool = False) -> bool:
    """Sets what vLLM's import and its processes need, where the operator has not; True for CPU.

    Args:
        sized: whether the KV cache's size is given to the engine by its argument, which vLLM passes
            over where the variable is set.

    Raises:
        EngineStartError: no vLLM is installed.

    """
    _, cpu_build = installed_vllm()
    defaults = {
        # vLLM's loggers keep no handlers of their own, so that their records reach the root's.
        "VLLM_CONFIGURE_LOGGING": "0",
        # A forked engine process would inherit the server's sockets, locks and threads.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # PyTorch's C++ parts write their warnings past every logger.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        # A server calls nobody unasked.
        "VLLM_NO_USAGE_STATS": "1",
    }
    if cpu_build:
        # The build `vllm-cpu` does not find its own metadata, from which it would know.
        defaults["VLLM_TARGET_DEVICE"] = "cpu"
    on_cpu = os.environ.get("VLLM_TARGET_DEVICE", defaults.get("VLLM_TARGET_DEVICE")) == "cpu"
    if on_cpu and not sized:
        defaults["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_KV_CACHE_GIB)
    if on_cpu:
        defaults |= threads_environment()
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    return on_cpu
