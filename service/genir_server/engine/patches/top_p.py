"""Applies `top_p` on a CPU without sorting the whole vocabulary.

In every step vLLM sorts all logits of every request to find the most likely tokens that make up
`top_p` of the probability. That is a large part of a small model's step on a CPU. A model that
writes under a grammar nearly always has these tokens among its 64 most likely ones, which are found
in a fraction of the time (``python -m bench.performance.sampling``). The result is the same. A row
is sorted only if 1,024 tokens do not suffice, or if 64 hold less than half of `top_p`.
"""

from __future__ import annotations

import functools
import logging
import math
from typing import TYPE_CHECKING

import torch

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

    Masking = Callable[..., torch.Tensor]

logger = logging.getLogger(__name__)

_CANDIDATES = (64, 1024)
_FUNCTION = "apply_top_k_top_p_pytorch"


def keep_nucleus(logits: torch.Tensor, p: torch.Tensor, by_sorting: Masking) -> torch.Tensor:
    """Sets the logits outside the nucleus, the most likely tokens that make up `p`, to -infinity.

    A token is kept if all more likely tokens together have less than `p`. So at least one is kept.

    Args:
        logits: a row for each request; is overwritten.
        p: one value for each row, above 0; a row with 1 is left unchanged.
        by_sorting: does the same by sorting; used for the rows that need it.

    Returns:
        `logits`.

    """
    pending = torch.nonzero(p < 1).flatten()
    flat = pending[:0]
    for count in _CANDIDATES:
        if not len(pending) or count >= logits.shape[-1]:
            break
        rows, wanted = logits[pending], p[pending]
        values, indices = rows.topk(count, dim=-1)
        probabilities = (values - rows.logsumexp(dim=-1, keepdim=True)).exp_()
        cumulative = probabilities.cumsum(dim=-1)
        total = cumulative[:, -1]
        found = total >= wanted
        values.masked_fill_(cumulative - probabilities >= wanted.unsqueeze(1), -math.inf)
        kept = rows[found].fill_(-math.inf).scatter_(-1, indices[found], values[found])
        logits[pending[found]] = kept
        # If the candidates have less than half of `p`, more candidates will not suffice either.
        far = total < wanted / 2
        flat = torch.cat((flat, pending[far]))
        pending = pending[~found & ~far]
    left = torch.cat((flat, pending))
    if len(left):
        logits[left] = by_sorting(logits[left], p[left])
    return logits


def without_sorting(vllm_function: Masking) -> Masking:
    """The function of vLLM that applies `top_k` and `top_p`, sorting only where it must."""

    @functools.wraps(vllm_function)
    def masked(
        logits: torch.Tensor,
        k: torch.Tensor | None,
        p: torch.Tensor | None,
        allow_cpu_sync: bool = False,  # vLLM's own signature.
    ) -> torch.Tensor:
        if p is None or k is not None:
            return vllm_function(logits, k, p, allow_cpu_sync)
        return keep_nucleus(
            logits, p, lambda rows, wanted: vllm_function(rows, None, wanted, allow_cpu_sync)
        )

    return masked


def sample_without_sorting() -> None:
    """Applies the patch in this process."""
    if not applies("top_p on CPUs"):
        logger.warning("vLLM sorts the vocabulary for top_p: %s", outcomes()["top_p on CPUs"])
        return
    from vllm.v1.sample.ops import topk_topp_sampler

    usual = getattr(topk_topp_sampler, _FUNCTION)
    setattr(topk_topp_sampler, _FUNCTION, without_sorting(usual))
