"""Repairs seeded sampling in vLLM's CPU build.

When a prompt is processed in several steps, vLLM samples after each of them and discards the
sample. It then rewinds the random generator of a seeded request by an offset, which generators on a
CPU do not have; the error ends the engine (vLLM 0.32.0). This patch hides the generators of such
requests while vLLM samples, so that there is nothing to rewind.

`genir_server.engine.patches.worker_extension` applies it in every worker.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_NAME = "seeded sampling on CPUs"


def hide_discarded_generators(sample_tokens: Callable[..., Any]) -> Callable[..., Any]:
    """The method `sample_tokens` of vLLM's model runner, without the fault.

    Args:
        sample_tokens: takes the runner, whose `input_batch.generators` maps a request's row to its
            generator, and whose `discard_request_mask` marks the rows whose sample is discarded.

    """

    @functools.wraps(sample_tokens)
    def repaired(runner: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - vLLM's own.
        generators = runner.input_batch.generators
        if not generators:
            return sample_tokens(runner, *args, **kwargs)
        discarded = runner.discard_request_mask.np
        hidden = {row: generator for row, generator in generators.items() if discarded[row]}
        for row in hidden:
            del generators[row]
        try:
            return sample_tokens(runner, *args, **kwargs)
        finally:
            generators.update(hidden)

    return repaired


def repair_seeded_sampling() -> None:
    """Applies the patch in this process."""
    if not applies(_NAME):
        logger.warning("seeded requests with long prompts may fail: %s", outcomes()[_NAME])
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    CPUModelRunner.sample_tokens = hide_discarded_generators(CPUModelRunner.sample_tokens)
