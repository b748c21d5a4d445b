"""vLLM's scheduler, with the tokens that the grammar forces proposed as drafts.

vLLM loads both classes by name: `JumpForwardScheduler` in the process of the engine core,
`NoDrafts` in its workers'. They use vLLM's machinery for speculative decoding, in which drafts for
the next tokens are computed in one step and kept as far as the model agrees. A draft made of forced
bytes is nearly always agreed with, and where it is not, the step's outcome is the model's own
choice: at temperature 0 and above, what is written is distributed as without drafts.
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
    """What came of it, over all constrained requests since the start.

    Attributes:
        steps: steps in which a request got at least one token, counted once for each request.
        tokens: tokens that requests got.
        forced: those of them that lay wholly within the bytes that were forced when their step
            began; what becomes forced within a guess is not among them.
        forced_saved: those of the forced that came as a draft, so that they cost no step.
        forced_with_prompt: those of the forced that came out of the step that ended the prompt.
        drafted: tokens proposed.
        accepted: tokens proposed that the model agreed with.
        guessed: those of the proposed that nothing forced (see `PromptLookupScheduler`).
        guessed_accepted: those of the guessed that the model agreed with.
    """

    steps: int = 0
    tokens: int = 0
    forced: int = 0
    forced_saved: int = 0
    forced_with_prompt: int = 0
    drafted: int = 0
    accepted: int = 0
    guessed: int = 0
    guessed_accepted: int = 0


class JumpForwardScheduler(Scheduler):  # type: ignore[misc]  # vllm is not typed for mypy.
    """Proposes forced tokens to every constrained request that is past its prompt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - vLLM's arguments.
        super().__init__(*args, **kwargs)
        self.jump_forward_counts = JumpForwardCounts()
        self._forced: dict[str, bytes] = {}
        self._given_up = False
        # With a table of drafts by batch size, vLLM does not fill the step of a request whose
        # prompt is cached up to its last token with placeholders, which cost time on a CPU and
        # which its kernels for CPUs are not made for.
        self.dynamic_sd_lookup = [self.num_spec_tokens] * (self.max_num_running_reqs + 1)

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:  # noqa: ANN401
        """Proposes, then schedules as vLLM does."""
        self._carefully(self._propose)
        return super().schedule(*args, **kwargs)

    def update_draft_token_ids(self, draft_token_ids: DraftTokenIds) -> None:
        """Passes over the workers' drafts: there are none."""

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> Any:  # noqa: ANN401
        """Counts, then goes on as vLLM does."""
        self._carefully(self._count, scheduler_output, model_runner_output)
        return super().update_from_output(scheduler_output, model_runner_output)

    def _carefully(self, work: Any, *arguments: Any) -> None:  # noqa: ANN401
        """Does what requests can do without: its failure must not cost them anything."""
        if self._given_up:
            return
        try:
            work(*arguments)
        except Exception:
            self._given_up = True
            logger.exception("jump-forward failed and is off from here on")
            for request in self.running:
                request.spec_token_ids = []

    def _propose(self) -> None:
        self._forced = {}
        at_rest: list[tuple[Request, GuidanceGrammar, bytes]] = []
        for request in self.running:
            # What is left where a request had no part in the step before.
            request.spec_token_ids = []
            grammar = self._grammar(request)
            # At rest: all but its newest token computed, nothing of it on its way.
            if grammar is None or request.num_tokens - request.num_computed_tokens != 1:
                continue
            forced = grammar.ll_matcher.compute_ff_bytes()
            self._forced[request.request_id] = forced
            at_rest.append((request, grammar, forced))
        # vLLM measures its memory with one draft for each request of a full batch.
        budget = min(self.max_num_running_reqs, self.max_num_scheduled_tokens - len(self.running))
        # What is forced is nearly always right, so guesses get what it leaves of the budget.
        for request, grammar, forced in sorted(at_rest, key=lambda entry: not entry[2]):
            # The step itself gives one token more than there are drafts.
            left = request.max_tokens - request.num_output_tokens - 1
            most = min(self.num_spec_tokens, left, budget)
            if most <= 0:
                continue
            drafts = (
                forced_continuation(
                    grammar.ll_tokenizer, request.output_token_ids[-CONTEXT_TOKENS:], forced, most
                )
                if forced
                else self._guess(request, most)
            )
            if drafts:
                request.spec_token_ids = grammar.validate_tokens(drafts)
                budget -= len(request.spec_token_ids)

    def _guess(self, request: Request, most: int) -> list[int]:  # noqa: ARG002
        """What may come where nothing is forced: here no guess is made."""
        return []

    def _learn(self, request: Request, guessed: int, right: int) -> None:
        """Told of every guess: `guessed` tokens of it were tried, the first `right` were right."""

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
            # A request whose prompt ended in this step was not looked at before it.
            forced = count_forced(
                grammar.ll_tokenizer,
                tokens,
                grammar.ll_matcher.compute_ff_bytes() if known is None else known,
            )
            counts.steps += 1
            counts.tokens += len(tokens)
            counts.forced += forced
            counts.forced_saved += min(forced, len(tokens) - 1)
            if known is None:
                counts.forced_with_prompt += forced
            counts.drafted += len(drafts)
            counts.accepted += len(tokens) - 1
            if known == b"" and drafts:
                counts.guessed += len(drafts)
                counts.guessed_accepted += len(tokens) - 1
                self._learn(request, len(drafts), len(tokens) - 1)

    def _grammar(self, request: Request) -> GuidanceGrammar | None:
        constraint = request.structured_output_request
        if constraint is None or self.structured_output_manager.reasoner_cls is not None:
            return None
        grammar = constraint.grammar
        if not isinstance(grammar, GuidanceGrammar) or grammar.is_terminated():
            return None
        return grammar


class PromptLookupScheduler(JumpForwardScheduler):
    """Where nothing is forced, proposes what came after the last tokens when they came before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - vLLM's arguments.
        super().__init__(*args, **kwargs)
        self._texts: dict[str, PromptLookup] = {}

    def _propose(self) -> None:
        super()._propose()
        for request_id in self._texts.keys() - self.requests.keys():
            del self._texts[request_id]

    def _guess(self, request: Request, most: int) -> list[int]:
        text = self._texts.setdefault(request.request_id, PromptLookup())
        return text.guess(request.all_token_ids, most)

    def _learn(self, request: Request, guessed: int, right: int) -> None:
        if text := self._texts.get(request.request_id):
            text.learn(guessed, right)


class NoDrafts:
    """A proposer that proposes nothing: the scheduler does.

    It is made in every worker, beside the sampler that verifies drafts, so it is also where that
    one is put right.
    """

    def __init__(self, vllm_config: VllmConfig) -> None:
        del vllm_config
        ensure_expand_kernel()

    def propose(self, sampled_token_ids: list[list[int]], *_: Any, **__: Any) -> list[list[int]]:  # noqa: ANN401
        """No draft for any request."""
        return [[] for _ in sampled_token_ids]

    def load_model(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Nothing: there is no model to draft with."""
