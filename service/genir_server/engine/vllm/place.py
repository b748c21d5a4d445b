"""Which part of an engine over several nodes a process has, by vLLM's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.engine.protocol import EngineStartError

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def has_workers_only(configuration: VllmConfig) -> bool:
    """Whether this node has workers of an engine core that runs on another node.

    Args:
        configuration: vLLM's configuration.
    """
    return bool(configuration.parallel_config.node_rank_within_dp > 0)


def check_place(configuration: VllmConfig, *, headless: bool) -> None:
    """Checks that the command fits the node.

    Args:
        configuration: vLLM's configuration.
        headless: whether the command is `genir node`, and not `genir serve`.

    Raises:
        EngineStartError: the other command is the right one.

    """
    parallel = configuration.parallel_config
    if not headless:
        if has_workers_only(configuration):
            raise EngineStartError(
                f"the engine argument node_rank is {parallel.node_rank}, and only the first node"
                " of an engine takes calls: use genir node here, and genir serve with node_rank=0"
            )
        return
    if has_workers_only(configuration):
        return
    if parallel.data_parallel_external_lb:
        raise EngineStartError(
            "with the engine argument data_parallel_rank, or data_parallel_external_lb, every rank"
            " is a server: use genir serve"
        )
    if parallel.data_parallel_size == 1 or parallel.data_parallel_rank == 0:
        raise EngineStartError(
            "this command starts a peer, and these engine arguments are those of the first node:"
            " give it node_rank of 1 or more with nnodes, or data_parallel_start_rank of 1 or more"
        )
