"""vLLM's scheduler, extended to propose the tokens that the grammar forces as drafts.

vLLM loads these classes by name: the schedulers in the engine core's process, `NoDrafts` in its
workers'. They use vLLM's machinery for speculative decoding, which computes drafts for the next
tokens in one step and keeps them as far as the model agrees. The model nearly always agrees with a
draft of forced bytes. Where it does not, the step yields the model's own choice. So the output has
the same distribution as without drafts, at any temperature.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.structured_output.backend_guidance import GuidanceGrammar

from genir_server.engine.jump_forward.forced_tokens import (
    CONTEXT_TOKENS,
    count_forced,
    forced_continuation,
)
from genir_server.engine.jump_forward.prompt_lookup import PromptLookup
from genir_server.engine.patches.expand_kernel import ensure_expand_kernel

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
    from vllm.v1.request import Request

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class JumpForwardCounts:
    """Totals over all constrained requests since the engine started.

    Attributes:
        steps: steps in which a request received at least one token, counted per request.
        tokens: tokens that requests received.
        forced: those of `tokens` that lay wholly within the bytes that were forced when their step
            began. What becomes forced within a prompt-lookup draft is not included.
        forced_saved: those of `forced` that were accepted as drafts and so cost no step.
        forced_with_prompt: those of `forced` that came from the step that finished the prompt.
        drafted: tokens proposed.
        accepted: those of `drafted` that the model agreed with.
        lookup_drafted: those of `drafted` that prompt lookup proposed.
        lookup_accepted: those of `lookup_drafted` that the model agreed with.

    """

    steps: int = 0
    tokens: int = 0
    forced: int = 0
    forced_saved: int = 0
    forced_with_prompt: int = 0
    drafted: int = 0
    accepted: int = 0
    lookup_drafted: int = 0
    lookup_accepted: int = 0


class JumpForwardScheduler(Scheduler):  # type: ignore[misc]  # vllm is not typed for mypy.
    """Proposes forced tokens to every constrained request that has finished its prompt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - vLLM's arguments.
        super().__init__(*args, **kwargs)
        self.jump_forward_counts = JumpForwardCounts()
        self._forced: dict[str, bytes] = {}
        self._failed = False
        # Without a table of drafts by batch size, vLLM pads the first step of a request whose whole
        # prompt but the last token is cached with placeholder drafts. These cost time on a CPU, and
        # vLLM's CPU kernels do not support them.
        self.dynamic_sd_lookup = [self.num_spec_tokens] * (self.max_num_running_reqs + 1)

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:  # noqa: ANN401
        """Proposes drafts, then schedules as vLLM does."""
        self._guarded(self._propose)
        return super().schedule(*args, **kwargs)

    def update_draft_token_ids(self, draft_token_ids: DraftTokenIds) -> None:
        """Ignores the workers' drafts: there are none."""

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> Any:  # noqa: ANN401
        """Counts the results, then continues as vLLM does."""
        self._guarded(self._count, scheduler_output, model_runner_output)
        return super().update_from_output(scheduler_output, model_runner_output)

    def _guarded(self, work: Any, *arguments: Any) -> None:  # noqa: ANN401
        """Runs optional work. A failure switches jump-forward off and leaves requests intact."""
        if self._failed:
            return
        try:
            work(*arguments)
        except Exception:
            self._failed = True
            logger.exception("jump-forward failed and is off from now on")
            for request in self.running:
                request.spec_token_ids = []

    def _propose(self) -> None:
        self._forced = {}
        ready: list[tuple[Request, GuidanceGrammar, bytes]] = []
        for request in self.running:
            # Drafts of a request that was not part of the previous step are still there.
            request.spec_token_ids = []
            grammar = self._grammar(request)
            # A request is ready when all tokens but its newest are computed and none is in flight.
            if grammar is None or request.num_tokens - request.num_computed_tokens != 1:
                continue
            forced = grammar.ll_matcher.compute_ff_bytes()
            self._forced[request.request_id] = forced
            ready.append((request, grammar, forced))
        # vLLM profiles its memory with one draft for each request of a full batch.
        budget = min(self.max_num_running_reqs, self.max_num_scheduled_tokens - len(self.running))
        # Forced tokens are nearly always right, so prompt lookup gets what they leave.
        for request, grammar, forced in sorted(ready, key=lambda entry: not entry[2]):
            # The step itself yields one token in addition to the drafts.
            remaining = request.max_tokens - request.num_output_tokens - 1
            max_tokens = min(self.num_spec_tokens, remaining, budget)
            if max_tokens <= 0:
                continue
            drafts = (
                forced_continuation(
                    grammar.ll_tokenizer,
                    request.output_token_ids[-CONTEXT_TOKENS:],
                    forced,
                    max_tokens,
                )
                if forced
                else self._look_up(request, max_tokens)
            )
            if drafts:
                request.spec_token_ids = grammar.validate_tokens(drafts)
                budget -= len(request.spec_token_ids)

    def _look_up(self, request: Request, max_tokens: int) -> list[int]:  # noqa: ARG002
        """A draft for a request for which nothing is forced. This scheduler makes none."""
        return []

    def _record_lookup(self, request: Request, drafted: int, accepted: int) -> None:
        """Called with the result of every draft of `_look_up`."""

    def _count(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> None:
        counts = self.jump_forward_counts
        sampled = model_runner_output.sampled_token_ids
        for request_id in scheduler_output.num_scheduled_tokens:
            request = self.requests.get(request_id)
            grammar = None if request is None else self._grammar(request)
            if grammar is None or not sampled:
                continue
            tokens = sampled[model_runner_output.req_id_to_index[request_id]]
            if not tokens:
                continue
            drafts = scheduler_output.scheduled_spec_decode_tokens.get(request_id, ())
            known = self._forced.get(request_id)
            # `_propose` did not look at a request whose prompt this step finished.
            forced = count_forced(
                grammar.ll_tokenizer,
                tokens,
                grammar.ll_matcher.compute_ff_bytes() if known is None else known,
            )
            accepted = len(tokens) - 1
            counts.steps += 1
            counts.tokens += len(tokens)
            counts.forced += forced
            counts.forced_saved += min(forced, accepted)
            if known is None:
                counts.forced_with_prompt += forced
            counts.drafted += len(drafts)
            counts.accepted += accepted
            if known == b"" and drafts:
                counts.lookup_drafted += len(drafts)
                counts.lookup_accepted += accepted
                self._record_lookup(request, len(drafts), accepted)

    def _grammar(self, request: Request) -> GuidanceGrammar | None:
        constraint = request.structured_output_request
        if constraint is None or self.structured_output_manager.reasoner_cls is not None:
            return None
        grammar = constraint.grammar
        if not isinstance(grammar, GuidanceGrammar) or grammar.is_terminated():
            return None
        return grammar


class PromptLookupScheduler(JumpForwardScheduler):
    """Also drafts by prompt lookup where nothing is forced."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - vLLM's arguments.
        super().__init__(*args, **kwargs)
        self._lookups: dict[str, PromptLookup] = {}

    def _propose(self) -> None:
        super()._propose()
        for request_id in self._lookups.keys() - self.requests.keys():
            del self._lookups[request_id]

    def _look_up(self, request: Request, max_tokens: int) -> list[int]:
        lookup = self._lookups.setdefault(request.request_id, PromptLookup())
        return lookup.draft(request.all_token_ids, max_tokens)

    def _record_lookup(self, request: Request, drafted: int, accepted: int) -> None:
        if lookup := self._lookups.get(request.request_id):
            lookup.record(drafted, accepted)


class NoDrafts:
    """A proposer that proposes nothing, because the scheduler does.

    vLLM creates it in every worker beside the sampler that verifies drafts, so it also repairs that
    sampler.
    """

    def __init__(self, vllm_config: VllmConfig) -> None:
        del vllm_config
        ensure_expand_kernel()

    def propose(self, sampled_token_ids: list[list[int]], *_: Any, **__: Any) -> list[list[int]]:  # noqa: ANN401
        """An empty draft for every request."""
        return [[] for _ in sampled_token_ids]

    def load_model(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Does nothing: there is no drafting model."""
