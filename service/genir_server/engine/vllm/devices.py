"""Compares the processes that an engine has on this machine with the machine's devices.

vLLM compares less: some layouts fail only when their processes start, minutes later.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.engine.protocol import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm.engine.arg_utils import AsyncEngineArgs

BINDING = "VLLM_CPU_OMP_THREADS_BIND"
"""The variable with the processors of each engine process on a CPU, separated by ``|``."""

_SIMULATED_NODES = "VLLM_CPU_SIM_MULTI_NUMA"
_LOCAL_EXECUTORS = (None, "mp", "uni")
_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
_COUNTS = (*_SIZES, "data_parallel_size", "nnodes")


@dataclass(frozen=True, slots=True)
class Layout:
    """The part of an engine that is on this machine.

    Attributes:
        ranks: data-parallel ranks.
        workers: processes of each, with a device each.
        arguments: the engine arguments that make it larger than one process, as the operator
            writes them.

    """

    ranks: int
    workers: int
    arguments: str

    @property
    def devices(self) -> int:
        """The devices that it needs."""
        return self.ranks * self.workers


def check_devices(arguments: AsyncEngineArgs) -> None:
    """Refuses a layout that needs more devices than the machine shows. Imports vLLM.

    PyTorch counts NVIDIA's devices through NVML, so CUDA is not initialized in this process.

    Args:
        arguments: vLLM's engine arguments.

    Raises:
        EngineStartError: one line says what to change.

    """
    import torch
    from vllm.platforms import current_platform
    from vllm.utils.cpu_resource_utils import get_visible_memory_node

    layout = layout_here(arguments)
    if layout is None:
        return
    if current_platform.is_cpu():
        fault = too_few_processors(layout, os.environ, len(get_visible_memory_node()))
    elif current_platform.is_unspecified():
        fault = (
            "vLLM finds no device on this machine: check that nvidia-smi lists one and that its "
            "driver fits, or install the CPU set in requirements/cpu.txt"
        )
    elif isinstance(arguments.device_ids, list | tuple):
        fault = too_few_devices(layout, len(arguments.device_ids), "device_ids selects them")
    else:
        variable = current_platform.device_control_env_var
        selected = f"{variable}={os.environ[variable]}" if variable in os.environ else ""
        fault = too_few_devices(layout, torch.accelerator.device_count(), selected)
    if fault:
        raise EngineStartError(fault)


def layout_here(arguments: AsyncEngineArgs) -> Layout | None:
    """The part of the engine on this machine; None if vLLM refuses it or Ray places it.

    Args:
        arguments: vLLM's engine arguments.
    """
    if not all(_is_count(getattr(arguments, name)) for name in _COUNTS) or _is_placed(arguments):
        return None
    if not isinstance(arguments.data_parallel_size_local, int | None):
        return None
    workers = 1
    for name in _SIZES:
        workers *= getattr(arguments, name)
    if arguments.data_parallel_rank is not None or arguments.data_parallel_external_lb:
        # One rank is a server of its own. Its workers may be spread over machines.
        ranks = 1
        here = workers * arguments.data_parallel_size // arguments.nnodes
        workers = max(min(workers, here), 1)
    elif arguments.nnodes > 1:
        here = workers * arguments.data_parallel_size // arguments.nnodes
        ranks = max(here // workers, 1)
        workers = here // ranks
    else:
        local = arguments.data_parallel_size_local
        ranks = arguments.data_parallel_size if local is None else local
    large = [
        f"{name}={getattr(arguments, name)}" for name in _COUNTS if getattr(arguments, name) > 1
    ]
    return Layout(ranks, workers, ", ".join(large) or "tensor_parallel_size=1")


def too_few_devices(layout: Layout, visible: int, selected: str = "") -> str:
    """What is wrong with a layout on so many devices; "" if it fits.

    Args:
        layout: the engine's part on this machine.
        visible: the devices that vLLM may use.
        selected: what selects them; "" if they are all devices of the machine.
    """
    if layout.devices <= visible:
        return ""
    return (
        f"{layout.arguments} needs {_number(layout.devices, 'device')} on this machine, and vLLM"
        f" sees {visible}{selected and f' ({selected})'}: lower the sizes with --engine-args, or"
        " use several machines with nnodes"
    )


def too_few_processors(layout: Layout, environment: Mapping[str, str], nodes: int) -> str:
    """What is wrong with a layout on a CPU; "" if vLLM can bind each process to processors.

    Args:
        layout: the engine's part on this machine.
        environment: has the operator's binding.
        nodes: the memory nodes that vLLM may use.
    """
    binding = environment.get(BINDING, "auto")
    if binding == "nobind" or environment.get(_SIMULATED_NODES, "0") != "0":
        return ""
    if binding == "auto":
        # The ranks share the nodes; the processes of one rank do not.
        if layout.workers <= nodes:
            return ""
        there_is = (
            f"and by itself vLLM gives each a memory node of its own, of which there"
            f" {'is' if nodes == 1 else 'are'} {nodes}"
        )
    else:
        groups = binding.count("|") + 1
        if groups == layout.devices or (layout.ranks > 1 and groups > layout.devices):
            return ""
        there_is = f"and {BINDING}={binding} has processors for {groups}"
    return (
        f"{layout.arguments} has {_number(layout.devices, 'process', 'es')} on this machine, "
        f"{there_is}: list the processors of each in {BINDING}, separated by |, or change the sizes"
        " with --engine-args"
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _is_placed(arguments: AsyncEngineArgs) -> bool:
    """Whether Ray or another launcher chooses the machines of the processes."""
    if arguments.data_parallel_backend == "ray":
        return True
    if arguments.distributed_executor_backend not in _LOCAL_EXECUTORS:
        return True
    # In an actor vLLM takes the devices of the actor's placement group.
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _number(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"
