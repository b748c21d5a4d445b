"""Plans the attempts at one IR: what each uses, and whether another follows a failed one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genir_server.core.prompt import build_retry_prompt
from genir_server.core.prompt_queue import prompt_characters
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import AttemptReason, Enforcement, Tightening

if TYPE_CHECKING:
    from genir_server.core.prompt import Prompt
    from genir_server.core.prompt_queue import PromptQueue
    from genir_server.core.verify import Verdict
    from genir_server.domain.types import GenerationRequest, Sampling
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema, SchemaPreparer

_RETRIED = {
    Reason.VALIDATION_FAILED: AttemptReason.VALIDATION_FAILED,
    Reason.CONSTRAINT_FAILED: AttemptReason.CONSTRAINT_FAILED,
    Reason.TRUNCATED: AttemptReason.TRUNCATED,
}
_MIN_RETRY_TEMPERATURE = 0.3
_MIN_COMPACT_BUDGET = 128
"""With a smaller max_tokens no compact attempt follows: the caller wants truncation."""


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """What one attempt uses.

    Attributes:
        number: its number, from 1.
        reason: why it is made.
        prompt: what the model continues.
        engine_schema: what decoding enforces.
        sampling: how tokens are drawn.
        tightening: what `engine_schema` rules out that the engine schema of a first attempt allows.

    """

    number: int
    reason: AttemptReason
    prompt: Prompt
    engine_schema: str
    sampling: Sampling
    tightening: Tightening = Tightening.NONE


class Attempts:
    """The attempts of one request.

    Args:
        request: the request.
        schema: the schema in force.
        prompt: the prompt of the first attempt.
        schemas: prepares the tightened forms of the schema.
        engine: renders the prompts of further attempts.
        prompts: shares the engine's tokenizer among callers.

    """

    def __init__(
        self,
        request: GenerationRequest,
        schema: PreparedSchema,
        prompt: Prompt,
        schemas: SchemaPreparer,
        engine: Engine,
        *,
        prompts: PromptQueue,
    ) -> None:
        self._request = request
        self._schema = schema
        self._prompt = prompt
        self._schemas = schemas
        self._engine = engine
        self._prompts = prompts

    async def first(self) -> AttemptPlan:
        """The first attempt.

        Raises:
            GenirError: DRAINING.

        """
        request = self._request
        plan = AttemptPlan(
            1, AttemptReason.FIRST, self._prompt, self._schema.engine_schema, request.sampling
        )
        return await self._tightened(plan, Tightening.COMPACT) if request.compact else plan

    async def after(
        self, failed: AttemptPlan, verdict: Verdict, raw: str, seconds: float
    ) -> AttemptPlan | None:
        """The attempt that follows a failed one; None if there is none.

        Args:
            failed: the failed attempt.
            verdict: why it failed.
            raw: what the model wrote in it.
            seconds: how long it took. If less time is left until the deadline, no attempt follows:
                this failure tells the caller more than a passed deadline.

        Raises:
            GenirError: DRAINING.

        """
        reason = _RETRIED.get(verdict.reason) if verdict.reason else None
        if (
            reason is None
            or failed.number >= self._request.max_attempts
            or not self._has_time_for(seconds)
        ):
            return None
        following = await self._following(failed, verdict, reason, raw)
        # Preparing another form of the schema has taken time, too.
        return following if self._has_time_for(seconds) else None

    def _has_time_for(self, seconds: float) -> bool:
        deadline = self._request.deadline
        return deadline is None or time.monotonic() + seconds <= deadline

    async def _following(
        self, failed: AttemptPlan, verdict: Verdict, reason: AttemptReason, raw: str
    ) -> AttemptPlan | None:
        if reason is AttemptReason.TRUNCATED:
            return await self._compact(failed)
        following = failed
        if verdict.duplicate_key:
            following = await self._tightened(failed, Tightening.SINGLE_KEYS)
        prompt = await self._prompts.run(
            build_retry_prompt(self._prompt, raw, verdict.violations, self._engine),
            self._request.caller,
            prompt_characters(self._request, self._schema) + len(raw),
        )
        # If the model repeats its mistake, the new prompt is the same as the last.
        changed = prompt is not self._prompt and prompt.token_ids != failed.prompt.token_ids
        return replace(
            following,
            number=failed.number + 1,
            reason=reason,
            prompt=prompt,
            sampling=self._resampled(failed.number, changed=changed),
        )

    async def _compact(self, failed: AttemptPlan) -> AttemptPlan | None:
        """An attempt bounded to more compact values; None if the schema has no such form.

        The model is not shown the truncated text: it may have been good as far as it went.
        """
        if failed.prompt.max_tokens < _MIN_COMPACT_BUDGET:
            return None
        following = await self._tightened(failed, Tightening.COMPACT)
        changed = following.engine_schema != failed.engine_schema
        if not changed and Tightening.COMPACT not in failed.tightening:
            return None
        return replace(
            following,
            number=failed.number + 1,
            reason=AttemptReason.TRUNCATED,
            sampling=self._resampled(failed.number, changed=changed),
        )

    async def _tightened(self, plan: AttemptPlan, by: Tightening) -> AttemptPlan:
        """The plan with a tighter form of the schema, or unchanged if there is none."""
        tightening = plan.tightening | by
        try:
            schema = await self._schemas.prepare(
                self._schema.text, self._request.caller, tightening
            )
        except GenirError as error:
            if error.reason is Reason.DRAINING:
                raise
            # The model may still succeed with the form it had.
            return plan
        if not any(notice.enforcement is Enforcement.NARROWED for notice in schema.notices):
            # The engine refuses the narrowed form; what is left may be wider than the usual form.
            return plan
        return replace(plan, engine_schema=schema.engine_schema, tightening=tightening)

    def _resampled(self, attempts_made: int, *, changed: bool) -> Sampling:
        """Another seed, and some temperature if nothing else would change."""
        sampling = self._request.sampling
        if sampling.seed is not None:
            sampling = replace(sampling, seed=(sampling.seed + attempts_made) % 2**63)
        if not changed:
            sampling = replace(
                sampling, temperature=max(sampling.temperature, _MIN_RETRY_TEMPERATURE)
            )
        return sampling
