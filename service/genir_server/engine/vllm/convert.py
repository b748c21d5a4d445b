"""Converts requests of `genir_server.engine.protocol` to vLLM's types, and its outputs back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from genir_server.domain.types import FinishReason, TextDelta
from genir_server.engine.patches.checked_schemas import mark_checked
from genir_server.engine.patches.resume import resume_arguments
from genir_server.engine.protocol import EngineRejectedError

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

    from genir_server.engine.protocol import EngineRequest
    from genir_server.engine.vllm.resumed_text import ResumedText

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


def sampling_params(request: EngineRequest, *, detokenize: bool = True) -> SamplingParams:
    """The parameters of a request for vLLM: sampling, schema, how often it yields an output.

    Args:
        request: the request.
        detokenize: whether the outputs have text besides tokens.

    """
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
        detokenize=detokenize,
        extra_args=resume_arguments(request.consumed),
        # The object belongs to this request alone, so vLLM need not copy it.
        skip_clone=True,
    )


def check_consumed(output: RequestOutput) -> None:
    """Checks an output of a request whose grammar had to consume a text.

    Raises:
        EngineRejectedError: vLLM has ended the request because it could not make the grammar.

    """
    completion = output.outputs[0]
    if str(completion.finish_reason) == "error" and not completion.token_ids:
        raise EngineRejectedError(
            "the grammar of the schema does not accept the text to resume after"
        )


def engine_delta(
    output: RequestOutput, *, queue_reported: bool, resumed: ResumedText | None = None
) -> TextDelta:
    """The delta for one output of vLLM.

    Args:
        output: the output, of kind DELTA.
        queue_reported: whether an earlier delta of the request had its `queue_seconds`.
        resumed: makes text of the tokens; None if the output has it.

    Raises:
        RuntimeError: the engine ended the request for an unknown reason.

    """
    completion = output.outputs[0]
    tokens = tuple(completion.token_ids)
    text = completion.text
    if resumed is not None:
        # After a stop, the last token is the one that stopped the request.
        text = resumed.add(tokens[:-1] if completion.finish_reason == "stop" else tokens)
    if queue_reported and not output.finished:
        # Most deltas are of this kind and carry nothing else.
        return TextDelta(text, len(tokens), token_ids=tokens)
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
        text=text,
        token_count=len(tokens),
        finish_reason=finish_reason,
        cached_prompt_tokens=output.num_cached_tokens,
        queue_seconds=queue_seconds,
        token_ids=tokens,
    )
