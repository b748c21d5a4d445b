"""LoRA adapters: what they need of the engine, checked before it loads, and their loading.

By default vLLM has room for one adapter of rank 16, and loads an adapter in the step of the first
request that names it. An adapter that does not fit then ends the engine. So the room is derived
from the adapters, and they are loaded before the server becomes ready.

Imports vllm, so it is imported late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from vllm.config.lora import LoRAConfig, MaxLoRARanks
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest

from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.start_fault import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm.v1.engine.async_llm import AsyncLLM

RANKS: tuple[int, ...] = get_args(MaxLoRARanks)
"""The ranks that vLLM can make room for."""


def adapter_arguments(folders: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of vLLM that make room for all adapters at once.

    Args:
        folders: the folder of each adapter, by its name.

    Raises:
        EngineStartError: vLLM cannot load an adapter.

    """
    if not folders:
        return {}
    needed = max(_rank(name, folder) for name, folder in folders.items())
    return {
        "enable_lora": True,
        "max_lora_rank": min(rank for rank in RANKS if rank >= needed),
        "max_loras": len(folders),
    }


def check_adapters(folders: Mapping[str, str], room: LoRAConfig | None) -> None:
    """Checks the adapters against the room that the operator's engine arguments leave.

    Raises:
        EngineStartError: an adapter does not fit.

    """
    for name, folder in folders.items():
        rank = _rank(name, folder)
        if room is not None and rank > room.max_lora_rank:
            raise EngineStartError(
                f"the LoRA adapter {name} has rank {rank}, and the engine argument max_lora_rank "
                f"is {room.max_lora_rank}: leave that argument out"
            )


def adapter_requests(folders: Mapping[str, str]) -> dict[str, LoRARequest]:
    """What names each adapter to vLLM, by the adapter's name."""
    return {
        name: LoRARequest(name, number, folder)
        for number, (name, folder) in enumerate(sorted(folders.items()), start=1)
    }


async def load_adapters(llm: AsyncLLM, folders: Mapping[str, str]) -> None:
    """Loads every adapter into a running engine.

    Raises:
        EngineStartError: vLLM cannot load one, for instance because it was made for another model.

    """
    for name, request in adapter_requests(folders).items():
        try:
            loaded = await llm.add_lora(request)
        except Exception as error:  # vLLM raises a bare Exception here.
            raise EngineStartError(
                f"vLLM cannot load the LoRA adapter {name}: {one_line(error)}"
            ) from error
        if not loaded:
            raise EngineStartError(f"vLLM has not loaded the LoRA adapter {name}")


def _rank(name: str, folder: str) -> int:
    try:
        config = PEFTHelper.from_local_dir(folder, None)
        rank = int(max((config.r, *config.rank_pattern.values())))
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise EngineStartError(
            f"the LoRA adapter {name} cannot be read: {one_line(error)}"
        ) from error
    if rank > max(RANKS):
        raise EngineStartError(
            f"the LoRA adapter {name} has rank {rank}, but vLLM serves at most {max(RANKS)}"
        )
    try:
        config.validate_legal(LoRAConfig(max_lora_rank=max(RANKS)))
    except ValueError as error:
        raise EngineStartError(
            f"vLLM does not support the LoRA adapter {name}: {one_line(error)}"
        ) from error
    return rank
