"""A fault in vLLM's seeded sampling on a CPU, repaired at run time.

While a prompt is read in several steps, vLLM samples after each and throws the sample away. It then
turns a seeded request's random generator back by moving an offset that generators on a CPU do not
have, and the error ends the engine (vLLM 0.32.0). Here the generators of such requests are put
aside during sampling, so that there is nothing to turn back.

`genir_server.engine.patches.worker_extension` has every worker do so.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def with_generators_aside(sample_tokens: Callable[..., Any]) -> Callable[..., Any]:
    """The method `sample_tokens` of vLLM's model runner, without the fault.

    Args:
        sample_tokens: takes the runner, whose `input_batch.generators` maps a request's row to its
            generator and whose `discard_request_mask` tells the rows that get no token.

    """

    @functools.wraps(sample_tokens)
    def repaired(runner: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - vLLM's own.
        generators = runner.input_batch.generators
        if not generators:
            return sample_tokens(runner, *args, **kwargs)
        discarded = runner.discard_request_mask.np
        aside = {row: generator for row, generator in generators.items() if discarded[row]}
        for row in aside:
            del generators[row]
        try:
            return sample_tokens(runner, *args, **kwargs)
        finally:
            generators.update(aside)

    return repaired


def repair_seeded_sampling() -> None:
    """Repairs it in this process."""
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    CPUModelRunner.sample_tokens = with_generators_aside(CPUModelRunner.sample_tokens)
