"""Repairs the verification of drafts in vLLM's CPU build.

The sampler keeps temperature, top_k and top_p once per request and expands them to one per draft
token. The CPU build of vLLM 0.32.0 writes the expanded values into a copy that is discarded, so
drafts are verified with uninitialized values. (The GPU kernel is right.) vLLM has a registry for
kernels that a platform replaces, and the repaired kernel goes in there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

KERNEL = "vllm.v1.sample.rejection_sampler.expand_kernel"


def expand(  # noqa: PLR0917  # The kernel's own signature.
    output: torch.Tensor,
    values: torch.Tensor,
    cumulative_counts: torch.Tensor,
    replace_from: float,
    replace_to: float,
    MAX_NUM_TOKENS: int | None = None,  # noqa: ARG001, N803  # The kernel's own argument.
) -> None:
    """Repeats each value as often as its request has drafts.

    Args:
        output: one element for each draft of the batch; is overwritten.
        values: one for each request.
        cumulative_counts: number of drafts of each request and all before it.
        replace_from: a value that is written as `replace_to` instead.
        replace_to: see `replace_from`.
        MAX_NUM_TOKENS: not used.

    """
    counts = torch.diff(cumulative_counts, prepend=cumulative_counts.new_zeros(1))
    expanded = torch.repeat_interleave(values, counts.to(torch.int64))
    output.copy_(expanded.masked_fill(expanded == replace_from, replace_to))


def ensure_expand_kernel() -> None:
    """Replaces the kernel in this process if vLLM's own gives wrong results on this CPU.

    Raises:
        RuntimeError: vLLM's kernel is wrong and cannot be replaced.

    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        # Other platforms have another kernel, and the tensors below would be on the wrong device.
        return
    if not applies("draft sampling on CPUs"):
        raise RuntimeError(
            "this vLLM's verification of drafts cannot be checked "
            f"({outcomes()['draft sampling on CPUs']}): start with --jump-forward off"
        )
    from vllm.v1.sample.rejection_sampler import expand_batch_to_tokens

    if expands_correctly(expand_batch_to_tokens):
        return
    from vllm.triton_utils.dispatcher import register_kernels

    register_kernels({KERNEL: expand})
    if not expands_correctly(expand_batch_to_tokens):
        raise RuntimeError(
            "vLLM's verification of drafts is wrong on this CPU and cannot be repaired:"
            " start with --jump-forward off"
        )
    logger.info("replaced vLLM's kernel that expands sampling parameters: its results are wrong")


def expands_correctly(expand_batch_to_tokens: Callable[..., torch.Tensor]) -> bool:
    """Whether the sampler's own function gives the right result for a small batch."""
    counts = torch.tensor([2, 2, 5, 6], dtype=torch.int32)
    temperatures = torch.tensor([0.0, 0.25, 0.75, 1.5])
    limits = torch.tensor([7, 8, 9, 10], dtype=torch.int32)
    expanded_temperatures = expand_batch_to_tokens(
        temperatures, counts, 6, replace_from=0, replace_to=1
    )
    expanded_limits = expand_batch_to_tokens(limits, counts, 6)
    correct = (
        expanded_temperatures.tolist() == [1.0, 1.0, 0.75, 0.75, 0.75, 1.5],
        expanded_limits.tolist() == [7, 7, 9, 9, 9, 10],
    )
    return all(correct)
