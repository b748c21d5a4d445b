"""``python -m bench.performance.sampling``: `top_p` with sorting, as in vLLM, and without.

One thread, logits of the size of the embedded model's vocabulary, no engine. Alternating runs,
medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import torch
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

from genir_server.engine.patches.top_p import without_sorting

if TYPE_CHECKING:
    from collections.abc import Callable

_VOCABULARY = 49_152
_TOP_P = 0.95
# Standard deviations of the logits. Nearly all probability lies on one token in ten thousand, on a
# handful, or on thousands.
_SPREADS = {"peaked": 10.0, "few": 5.0, "flat": 1.0}


def main(batches: list[int], rounds: int) -> None:
    """Measures and prints a table."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    ways: dict[str, Callable[..., torch.Tensor]] = {
        "sorting": apply_top_k_top_p_pytorch,
        "without": without_sorting(apply_top_k_top_p_pytorch),
    }
    print("| logits | rows | kept of a row | sorting, ms | without, ms | ratio |")
    print("|---|---|---|---|---|---|")
    for name, spread in _SPREADS.items():
        for rows in batches:
            logits = torch.randn(rows, _VOCABULARY) * spread
            top_p = torch.full((rows,), _TOP_P)
            taken: dict[str, list[float]] = {way: [] for way in ways}
            kept = 0
            for _ in range(rounds):
                for way, apply in ways.items():
                    own = logits.clone()
                    began = time.perf_counter()
                    masked = apply(own, None, top_p)
                    taken[way].append(time.perf_counter() - began)
                    kept = int((masked > -torch.inf).sum())
            sorting, without = (1e3 * statistics.median(taken[way]) for way in ways)
            print(
                f"| {name} | {rows} | {kept / rows:.0f} | {sorting:.2f} | {without:.2f} "
                f"| {sorting / without:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.performance.sampling", description=__doc__
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32], help="requests at once")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    main(options.rows, options.rounds)
