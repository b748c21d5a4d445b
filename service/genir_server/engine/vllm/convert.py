"""Converts requests of `genir_server.engine.protocol` to vLLM's types, and its outputs back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from genir_server.domain.types import FinishReason, TextDelta
from genir_server.engine.patches.checked_schemas import mark_checked

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

    from genir_server.engine.protocol import EngineRequest

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "abort": FinishReason.ABORT,
    # A grammar that reaches one of its own limits refuses the token that the model chose, and vLLM
    # ends the request with this reason. The output then does not satisfy the schema.
    "error": FinishReason.ABORT,
    # Some engine arguments make vLLM end a text that repeats itself.
    "repetition": FinishReason.ABORT,
}


def sampling_params(request: EngineRequest) -> SamplingParams:
    """The parameters of a request for vLLM: sampling, schema, how often it yields an output."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    structured_outputs = StructuredOutputsParams(json=request.schema)
    mark_checked(structured_outputs)
    return SamplingParams(
        # vLLM has the same names.
        **asdict(request.sampling),
        max_tokens=request.max_tokens,
        structured_outputs=structured_outputs,
        output_kind=RequestOutputKind.DELTA,
        stream_interval=request.tokens_per_delta,
        # The object belongs to this request alone, so vLLM need not copy it.
        skip_clone=True,
    )


def engine_delta(output: RequestOutput, *, queue_reported: bool) -> TextDelta:
    """The delta for one output of vLLM.

    Args:
        output: the output, of kind DELTA.
        queue_reported: whether an earlier delta of the request had its `queue_seconds`.

    Raises:
        RuntimeError: the engine ended the request for an unknown reason.

    """
    completion = output.outputs[0]
    if queue_reported and not output.finished:
        # Most deltas are of this kind and carry nothing else.
        return TextDelta(completion.text, len(completion.token_ids))
    finish_reason = None
    if output.finished:
        finish_reason = _FINISH_REASONS.get(str(completion.finish_reason))
        if finish_reason is None:
            raise RuntimeError(
                f"the engine ended the request for an unknown reason ({completion.finish_reason})"
            )
    metrics = output.metrics
    queue_seconds = None
    if metrics is not None and metrics.scheduled_ts > 0 and metrics.queued_ts > 0:
        queue_seconds = max(0.0, metrics.scheduled_ts - metrics.queued_ts)
    return TextDelta(
        text=completion.text,
        token_count=len(completion.token_ids),
        finish_reason=finish_reason,
        cached_prompt_tokens=output.num_cached_tokens,
        queue_seconds=queue_seconds,
    )
