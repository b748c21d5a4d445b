"""Sets the environment variables that vLLM reads when it is imported."""

from __future__ import annotations

import importlib.metadata
import math
import os

from genir_server.engine.config import CPU_KV_CACHE_GIB
from genir_server.engine.protocol import EngineStartError

PLUGIN = "genir"
"""Name of genir's entry point in the group ``vllm.general_plugins``."""

VARIABLE = "GENIR_ENGINE_PROCESS"
"""The environment variable with the settings of the engine's processes, as JSON."""

_FEW_CPUS = 2


def threads_environment() -> dict[str, str]:
    """Lets vLLM's model use every CPU if there are at most two.

    By default vLLM keeps one CPU free, which is half of two. The embedded model is a third faster
    with both.
    """
    few = len(os.sched_getaffinity(0)) <= _FEW_CPUS
    return {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0"} if few else {}


def installed_vllm() -> tuple[str, bool]:
    """The version of the installed vLLM, and whether it is a CPU build.

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


def prepare_environment(*, sized: bool = False, start_timeout: float = 3600.0) -> bool:
    """Sets the variables for vLLM and its processes that the operator has not set.

    Args:
        sized: whether an engine argument gives the KV cache's size. vLLM ignores that argument if
            the variable is set.
        start_timeout: seconds after which vLLM gives up a start; 600 by its own default, which is
            too short for large models.

    Returns:
        Whether vLLM runs on a CPU.

    Raises:
        EngineStartError: no vLLM is installed.

    """
    _, cpu_build = installed_vllm()
    defaults = {
        # vLLM's loggers keep no handlers of their own, so that their records reach the root's.
        "VLLM_CONFIGURE_LOGGING": "0",
        # A forked engine process would inherit the server's sockets, locks and threads.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # PyTorch's C++ code writes warnings without using a logger.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        # The server makes no outgoing connections on its own.
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(math.ceil(start_timeout)),
    }
    if cpu_build:
        # The package `vllm-cpu` looks for the metadata of `vllm` to learn its platform, and fails.
        defaults["VLLM_TARGET_DEVICE"] = "cpu"
    on_cpu = os.environ.get("VLLM_TARGET_DEVICE", defaults.get("VLLM_TARGET_DEVICE")) == "cpu"
    if on_cpu and not sized:
        defaults["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_KV_CACHE_GIB)
    if on_cpu:
        defaults |= threads_environment()
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # An operator's own choice of plugins must not leave genir's out.
    _add_to_list("VLLM_PLUGINS", PLUGIN, only_if_set=True)
    # Ray actors get a new environment.
    _add_to_list("VLLM_RAY_EXTRA_ENV_VARS_TO_COPY", VARIABLE)
    # It is set if this server was started by a process of another engine.
    os.environ.pop(VARIABLE, None)
    return on_cpu


def _add_to_list(name: str, item: str, *, only_if_set: bool = False) -> None:
    value = os.environ.get(name)
    if value is None and only_if_set:
        return
    items = [given for given in (value or "").split(",") if given]
    if item not in items:
        os.environ[name] = ",".join([*items, item])
