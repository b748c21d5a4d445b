"""A fault in vLLM's verification of drafts on a CPU, found and repaired at run time.

The sampler keeps temperature, top_k and top_p once for each request and expands them to one for
each draft. The CPU build of vLLM 0.32.0 expands into a copy that is thrown away, so that drafts are
verified at temperatures that are whatever the memory held. (Its kernel for GPUs is right.) vLLM has
a registry by which a platform replaces kernels; the repaired one goes in there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

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
        output: one place for each draft of the batch; is overwritten.
        values: one for each request.
        cumulative_counts: drafts of each request and all before it.
        replace_from: a value that is written as `replace_to` instead.
        replace_to: see there.
        MAX_NUM_TOKENS: not used.

    """
    counts = torch.diff(cumulative_counts, prepend=cumulative_counts.new_zeros(1))
    expanded = torch.repeat_interleave(values, counts.to(torch.int64))
    output.copy_(expanded.masked_fill(expanded == replace_from, replace_to))


def ensure_expand_kernel() -> None:
    """Leaves this process with a kernel that expands rightly: vLLM's own where it does.

    Raises:
        RuntimeError: vLLM's is wrong and cannot be replaced.

    """
    from vllm.platforms import current_platform
    from vllm.v1.sample.rejection_sampler import expand_batch_to_tokens

    if not current_platform.is_cpu():
        # The tensors would be on the wrong device, and the kernel there is another one.
        return
    if expands_rightly(expand_batch_to_tokens):
        return
    from vllm.triton_utils.dispatcher import register_kernels

    register_kernels({KERNEL: expand})
    if not expands_rightly(expand_batch_to_tokens):
        raise RuntimeError(
            "vLLM's verification of drafts is wrong on this CPU and cannot be repaired:"
            " start with --jump-forward off"
        )
    logger.info("vLLM's kernel that expands sampling parameters was wrong and is replaced")


def expands_rightly(expand_batch_to_tokens: Callable[..., torch.Tensor]) -> bool:
    """Whether the sampler's own function gives the right answer for a small batch."""
    counts = torch.tensor([2, 2, 5, 6], dtype=torch.int32)
    temperatures = torch.tensor([0.0, 0.25, 0.75, 1.5])
    limits = torch.tensor([7, 8, 9, 10], dtype=torch.int32)
    heated = expand_batch_to_tokens(temperatures, counts, 6, replace_from=0, replace_to=1)
    limited = expand_batch_to_tokens(limits, counts, 6)
    right = (
        heated.tolist() == [1.0, 1.0, 0.75, 0.75, 0.75, 1.5],
        limited.tolist() == [7, 7, 9, 9, 9, 10],
    )
    return all(right)
