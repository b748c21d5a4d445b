"""What a model needs of devices, memory and disk, and what the machine has.

Imports vllm, so it is imported late.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genir_server.engine.model_name import is_folder
from genir_server.engine.protocol import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vllm.config import VllmConfig

_GIB = 1 << 30
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")
_HUB_SECONDS = 10.0
_CHANGE_SIZE = frozenset(
    {"quantization", "load_format", "cpu_offload_gb", "offload_backend", "hf_overrides", "dtype"}
)
"""Engine arguments with which weights in memory may be smaller than on disk, or elsewhere."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What is needed and what there is. Sizes are in bytes and None where they are unknown.

    Attributes:
        layout: how the model is spread over devices.
        devices: devices that share one copy of the weights, or at least the largest part of them.
        weights: size of the weights.
        download: how much of them has to be downloaded.
        memory: memory of one device in all; None where the driver does not tell.
        disk: free disk for a download.

    """

    layout: str
    devices: int
    weights: int | None
    download: int
    memory: int | None
    disk: int

    def lines(self) -> dict[str, str]:
        """What an operator reads, by what it is about."""
        needed = "unknown" if self.weights is None else _gib(self.weights)
        found = {
            "layout": self.layout,
            "memory": f"{needed} for weights, besides the KV cache; {_memory(self)}",
        }
        if self.download:
            found["disk"] = f"{_gib(self.download)} to download, {_gib(self.disk)} free"
        return found


def check_resources(vllm_config: VllmConfig, engine_args: Mapping[str, object]) -> Resources:
    """Finds out what is needed, and refuses what is certain not to fit.

    Args:
        vllm_config: vLLM's configuration.
        engine_args: the operator's engine arguments.

    Raises:
        EngineStartError: the weights fit neither into memory nor on the disk.

    """
    from vllm.platforms import current_platform

    parallel, model = vllm_config.parallel_config, vllm_config.model_config
    on_cpu = current_platform.is_cpu()
    devices = 1 if on_cpu else parallel.world_size
    if not on_cpu and parallel.data_parallel_size > 1 and model.is_moe:
        # Data-parallel ranks share the experts, whether or not by expert parallelism.
        devices *= parallel.data_parallel_size
    sizes = _sizes(model.model, model.revision)
    cached = _cached(model.model, sizes or {})
    found = Resources(
        layout=", ".join(_layout(vllm_config)),
        devices=devices,
        weights=sum(sizes.values()) if sizes else None,
        download=sum(size for name, size in (sizes or {}).items() if name not in cached),
        memory=_host_memory() if on_cpu else _device_memory(),
        disk=_free_disk(),
    )
    changed = {name.replace("-", "_") for name in engine_args} & _CHANGE_SIZE
    if not changed and _is_certainly_too_large(found, vllm_config):
        raise EngineStartError(
            f"the model's weights take {_gib(found.weights or 0)}, and there is {_memory(found)}: "
            "choose a smaller or quantized model, or more devices with --engine-args "
            "tensor_parallel_size"
        )
    if found.download > found.disk:
        raise EngineStartError(
            f"{_gib(found.download)} have to be downloaded, and {_cache_folder()} has "
            f"{_gib(found.disk)} free: make room, or set HF_HOME to a folder on a larger disk"
        )
    return found


def _is_certainly_too_large(found: Resources, vllm_config: VllmConfig) -> bool:
    if found.weights is None or found.memory is None:
        return False
    # vLLM reads weights of 32 bits as 16 by default, and some configurations do not say what is in
    # the files.
    own = str(getattr(vllm_config.model_config.hf_config, "dtype", None))
    least = found.weights if own.endswith(("float16", "half")) else found.weights // 2
    return least > found.devices * found.memory


def _device_memory() -> int | None:
    from vllm.platforms import current_platform

    # The driver of a device that shares the machine's memory may not tell.
    with suppress(Exception):
        return int(current_platform.get_device_total_memory())
    return None


def _layout(vllm_config: VllmConfig) -> Iterable[str]:
    import torch
    from vllm.platforms import current_platform

    parallel = vllm_config.parallel_config
    yield "CPU" if current_platform.is_cpu() else f"{torch.accelerator.device_count()} GPUs here"
    for name, size in (
        ("tensor parallel", parallel.tensor_parallel_size),
        ("pipeline parallel", parallel.pipeline_parallel_size),
        ("data parallel", parallel.data_parallel_size),
        ("nodes", parallel.nnodes),
    ):
        if size > 1 or name == "tensor parallel":
            yield f"{name} {size}"
    if parallel.enable_expert_parallel:
        yield "expert parallel"


def _memory(resources: Resources) -> str:
    if resources.memory is None:
        return "an unknown amount of memory"
    if resources.devices == 1:
        return f"{_gib(resources.memory)} of memory"
    return f"{resources.devices} x {_gib(resources.memory)} of memory"


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


def _sizes(model: str, revision: str | None) -> dict[str, int]:
    """Size of each file of weights; empty if unknown."""
    path = Path(model)
    if path.is_file():
        return {path.name: path.stat().st_size}
    if path.is_dir():
        return _weights({file.name: file.stat().st_size for file in path.iterdir()})
    if is_folder(model) or "://" in model:
        return {}
    from huggingface_hub import HfApi

    # Without a network, or offline, vLLM says what is missing.
    with suppress(Exception):
        about = HfApi().model_info(
            model, revision=revision, files_metadata=True, timeout=_HUB_SECONDS
        )
        return _weights({file.rfilename: file.size or 0 for file in about.siblings or ()})
    return {}


def _weights(files: Mapping[str, int]) -> dict[str, int]:
    """The files that vLLM loads: of the first format, and not a second copy in Mistral's.

    What is in folders, such as ``original/``, is a second copy too.
    """
    for suffix in _WEIGHTS:
        found = {
            name: size for name, size in files.items() if name.endswith(suffix) and "/" not in name
        }
        own = {name: size for name, size in found.items() if not name.startswith("consolidated")}
        if found:
            return own or found
    return {}


def _cached(model: str, files: Iterable[str]) -> set[str]:
    """Which files need no download."""
    if Path(model).exists():
        return set(files)
    from huggingface_hub import try_to_load_from_cache

    return {file for file in files if isinstance(try_to_load_from_cache(model, file), str)}


def _cache_folder() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    return next(each for each in (folder, *folder.parents) if each.exists())


def _free_disk() -> int:
    return shutil.disk_usage(_cache_folder()).free


def _host_memory() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        # "max" where a container has no limit.
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory
