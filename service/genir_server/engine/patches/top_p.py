"""`top_p` on a CPU without sorting the whole vocabulary.

vLLM sorts all the logits of every request at every step to find the likeliest tokens that make up
`top_p` of the probability, which is a large part of a small model's step on a CPU. A language model
that writes under a grammar nearly always has them among its 64 likeliest tokens, which are found in
a fraction of the time (``python -m bench.performance.sampling``). What is kept is the same; only
where 1,024 are not enough, or 64 hold less than half, is everything sorted after all.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Masking = Callable[..., torch.Tensor]

logger = logging.getLogger(__name__)

_CANDIDATES = (64, 1024)
_PARAMETERS = ("logits", "k", "p", "allow_cpu_sync")


def keep_nucleus(logits: torch.Tensor, p: torch.Tensor, by_sorting: Masking) -> torch.Tensor:
    """Sets to minus infinity what is not among the likeliest tokens that make up `p`.

    A token stays when all that are likelier have less than `p` together, so one always does.

    Args:
        logits: a row for each request; is overwritten.
        p: one for each row, above 0; a row with 1 stays as it is.
        by_sorting: does the same to the rows that it is given, whatever they are.

    Returns:
        `logits`.

    """
    pending = torch.nonzero(p < 1).flatten()
    hopeless = pending[:0]
    for count in _CANDIDATES:
        if not len(pending) or count >= logits.shape[-1]:
            break
        rows, most = logits[pending], p[pending]
        values, places = rows.topk(count, dim=-1)
        probabilities = (values - rows.logsumexp(dim=-1, keepdim=True)).exp_()
        together = probabilities.cumsum(dim=-1)
        whole = together[:, -1]
        found = whole >= most
        values.masked_fill_(together - probabilities >= most.unsqueeze(1), -math.inf)
        kept = rows[found].fill_(-math.inf).scatter_(-1, places[found], values[found])
        logits[pending[found]] = kept
        # Where the likeliest have not even half of it, more of them will not do either.
        far = whole < most / 2
        hopeless = torch.cat((hopeless, pending[far]))
        pending = pending[~found & ~far]
    left = torch.cat((hopeless, pending))
    if len(left):
        logits[left] = by_sorting(logits[left], p[left])
    return logits


def without_sorting(usual: Masking) -> Masking:
    """The function of vLLM that applies `top_k` and `top_p`, sorting only where it must."""

    @functools.wraps(usual)
    def masked(
        logits: torch.Tensor,
        k: torch.Tensor | None,
        p: torch.Tensor | None,
        allow_cpu_sync: bool = False,  # vLLM's own signature.
    ) -> torch.Tensor:
        if p is None or k is not None:
            return usual(logits, k, p, allow_cpu_sync)
        return keep_nucleus(logits, p, lambda rows, most: usual(rows, None, most, allow_cpu_sync))

    return masked


def sample_without_sorting() -> None:
    """Has this process's sampler do so, where it is made as it is known to be."""
    from vllm.v1.sample.ops import topk_topp_sampler

    name = "apply_top_k_top_p_pytorch"
    usual = getattr(topk_topp_sampler, name, None)
    if usual is None or tuple(inspect.signature(usual).parameters) != _PARAMETERS:
        logger.info("vLLM's sampler is another than the one known: it sorts for top_p")
        return
    setattr(topk_topp_sampler, name, without_sorting(usual))
