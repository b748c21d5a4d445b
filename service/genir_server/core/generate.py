"""Step 3, generate, and the order of all five steps: validate, prompt, generate, normalize, verify.

`IRGenerator.run` yields events, which a transport forwards. It raises `GenirError` for everything
that is not a valid IR. When it is cancelled or closed, the engine drops the request first.
"""

from __future__ import annotations

import time
import uuid
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from genir_server.core.attempt_text import AttemptText, Resumed
from genir_server.core.attempts import Attempts
from genir_server.core.engine_call import engine_deltas
from genir_server.core.prompt import build_prompt
from genir_server.core.prompt_queue import PromptQueue, prompt_characters
from genir_server.core.schema_in_force import schema_in_force
from genir_server.core.validate import validate_request
from genir_server.domain.digest import digest
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.domain.types import (
    Accepted,
    Attempt,
    AttemptStarted,
    Completed,
    FinishReason,
    GenerationFailure,
    OnBudget,
    Timings,
    Usage,
)
from genir_server.engine.protocol import EngineRequest
from genir_server.schema.types import WrittenText

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from genir_server.core.attempts import AttemptPlan
    from genir_server.core.prompt import Prompt
    from genir_server.core.verify import Verdict, Verification
    from genir_server.domain.types import GenerationEvent, GenerationRequest, TextDelta
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema, SchemaPreparer

_FAILURE_MESSAGES = {
    Reason.TRUNCATED: "max_tokens ({max_tokens}) was reached before the JSON was complete: "
    "raise max_tokens or bound the schema more tightly",
    Reason.VALIDATION_FAILED: "none of {attempts} attempt(s) was valid against the schema: "
    "see the violations, ask again, or loosen the schema",
    Reason.CONSTRAINT_FAILED: "in {attempts} attempt(s) the engine stopped before the JSON was "
    "complete: simplify the schema or ask again",
}


class Ticket(Protocol):
    """One request's place in the queue before the engine."""

    async def wait(self, tokens: int, priority: int) -> None:
        """Returns when the engine has room for the request.

        Args:
            tokens: the most that it may take: the prompt's tokens and `max_tokens` together.
            priority: the lower number goes first, among the calls of the caller.

        Raises:
            GenirError: there will be no room, or not in time.
        """
        ...


@dataclass(slots=True)
class _Run:
    """What one call has gathered so far. Times are on the monotonic clock."""

    request: GenerationRequest
    arrival: float
    schema_seconds: float = 0.0
    admission_seconds: float = 0.0
    engine_queue_seconds: float | None = None
    first_token: float | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def usage(self) -> Usage:
        return sum((attempt.usage for attempt in self.attempts), Usage())


class IRGenerator:
    """Turns requests into verified IRs with one engine.

    Args:
        engine: the engine to run on.
        schemas: prepares the callers' schemas.
        verification: verifies what the model wrote.
        builtin_schema: the schema in force when a caller sends none.
        limits: limits on one request.
    """

    def __init__(
        self,
        engine: Engine,
        schemas: SchemaPreparer,
        verification: Verification,
        builtin_schema: PreparedSchema,
        limits: RequestLimits | None = None,
    ) -> None:
        self.engine = engine
        self._verification = verification
        self.builtin_schema = builtin_schema
        self._schemas = schemas
        self._limits = limits or RequestLimits()
        self._prompts = PromptQueue()

    async def run(
        self, request: GenerationRequest, ticket: Ticket | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Runs the five steps for one request and yields what happens.

        Close the generator (or cancel the task that iterates it) to abandon the request.

        Args:
            request: the request.
            ticket: its place in the queue before the engine; None if it does not wait.

        Raises:
            GenirError: the request was refused or failed.
        """
        run = _Run(request, arrival=time.monotonic())
        validate_request(request, self._limits, self.engine.info)
        schema = await self._schema(run)
        characters = prompt_characters(request, schema)
        prompt = await self._prompts.run(
            build_prompt(request, schema, self.engine), request.caller, characters
        )
        await _admission(run, prompt, ticket)
        yield self._accepted(run, schema, prompt)

        attempts = Attempts(
            request, schema, prompt, self._schemas, self.engine, prompts=self._prompts
        )
        plan = await attempts.first()
        while True:
            yield AttemptStarted(plan.number, plan.reason)
            began = time.monotonic()
            written = AttemptText()
            async with aclosing(self._generate(run, self._request(plan, run), written)) as deltas:
                async for delta in deltas:
                    yield delta
                    if request.on_budget is OnBudget.CLOSE and written.repeats():
                        break
            verdict = await self._verdict(written, schema, request)
            if verdict.reason is Reason.TRUNCATED and request.on_budget is OnBudget.CLOSE:
                async with aclosing(self._close(run, plan, schema, written)) as events:
                    async for event in events:
                        yield event
                if written.closed_early:
                    verdict = await self._verdict(written, schema, request)
            run.attempts += (_attempt(plan, written),)
            if verdict.reason is None:
                yield self._completed(run, schema, prompt, verdict.ir_json, written.closed_early)
                return
            raw = written.text
            following = await attempts.after(plan, verdict, raw, time.monotonic() - began)
            if following is None:
                raise _failure(run, prompt, verdict, raw)
            plan = following

    async def _schema(self, run: _Run) -> PreparedSchema:
        began = time.monotonic()
        schema = await schema_in_force(
            self._schemas,
            self.builtin_schema,
            run.request.json_schema,
            run.request.schema_digest,
            caller=run.request.caller,
        )
        run.schema_seconds = time.monotonic() - began
        return schema

    async def _verdict(
        self, written: AttemptText, schema: PreparedSchema, request: GenerationRequest
    ) -> Verdict:
        return await self._verification.verdict(
            written.text, written.finish_reason, schema, request.caller
        )

    def _request(self, plan: AttemptPlan, run: _Run) -> EngineRequest:
        request = run.request
        return EngineRequest(
            # The engine requires unique ids, but callers may use one id for several calls.
            request_id=f"{request.request_id}/{plan.number}/{uuid.uuid4().hex[:12]}",
            prompt_token_ids=plan.prompt.token_ids,
            schema=plan.engine_schema,
            sampling=plan.sampling,
            max_tokens=plan.prompt.max_tokens,
            # The engine runs lower numbers first, and preempts others for them, whoever sent them.
            priority=request.priority if request.priority_across_callers else 0,
            lora_adapter=request.lora_adapter,
            tokens_per_delta=request.tokens_per_delta,
            rank=request.rank,
        )

    async def _generate(
        self, run: _Run, request: EngineRequest, written: AttemptText
    ) -> AsyncGenerator[TextDelta, None]:
        async with aclosing(engine_deltas(self.engine, request)) as deltas:
            async for delta in deltas:
                if delta.queue_seconds is not None and run.engine_queue_seconds is None:
                    run.engine_queue_seconds = delta.queue_seconds
                written.add(delta)
                if delta.text or delta.token_count:
                    run.first_token = run.first_token or time.monotonic()
                    yield delta

    async def _close(
        self, run: _Run, plan: AttemptPlan, schema: PreparedSchema, written: AttemptText
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Ends a text that reached its budget: by the model if it may go on, else by the server.

        Leaves the text as it is if no end is found.
        """
        text = WrittenText(
            plan.engine_schema, written.text, written.token_ids, written.repeated_from
        )
        max_tokens = plan.prompt.max_tokens
        closing = await self._schemas.plan_closing(schema, text, max_tokens, run.request.caller)
        if closing is None:
            return
        pointer = closing.closed_early[-1] if closing.closed_early else ""
        written.closed_early = closing.closed_early or ("",)
        kept = closing.kept_tokens
        dropped = len(written.token_ids) - kept
        yield written.rewind(closing.kept_bytes, Resumed(pointer, kept, dropped), closing.token_ids)
        if closing.appended:
            yield written.append(closing.appended)
        size = len(written.text.encode())
        left = max_tokens - closing.used_tokens
        if closing.closing_schema is not None and left > 0 and self.engine.info.can_resume:
            request = replace(
                self._request(plan, run),
                schema=closing.closing_schema,
                written_token_ids=closing.token_ids,
                consumed=closing.residual.encode(),
                max_tokens=left,
            )
            try:
                async with aclosing(self._generate(run, request, written)) as deltas:
                    async for delta in deltas:
                        yield delta
            except GenirError as error:
                # The server knows how the value can end without the engine.
                if error.reason not in (Reason.SCHEMA_UNSUPPORTED, Reason.ENGINE_UNAVAILABLE):
                    raise
            verdict = await self._verdict(written, schema, run.request)
            if verdict.reason is None:
                return
            dropped = len(written.token_ids) - closing.used_tokens
            if dropped > 0 or len(written.text.encode()) > size:
                yield written.rewind(size, Resumed(pointer, kept, dropped), closing.token_ids)
        if closing.smallest:
            yield written.append(closing.smallest)

    def _accepted(self, run: _Run, schema: PreparedSchema, prompt: Prompt) -> Accepted:
        return Accepted(
            request_id=run.request.request_id,
            model=self.engine.info.model,
            schema_digest=schema.digest,
            structured_output_backend=self.engine.effective_backend,
            schema_notices=schema.notices,
            schema_shown=prompt.schema_shown,
            prompt_tokens=len(prompt.token_ids),
            max_tokens=prompt.max_tokens,
            lora_adapter=run.request.lora_adapter,
            schema_seconds=run.schema_seconds,
            admission_seconds=run.admission_seconds,
        )

    def _completed(
        self,
        run: _Run,
        schema: PreparedSchema,
        prompt: Prompt,
        ir_json: str,
        closed_early: tuple[str, ...],
    ) -> Completed:
        now = time.monotonic()
        return Completed(
            ir_json=ir_json,
            request_id=run.request.request_id,
            model=self.engine.info.model,
            structured_output_backend=self.engine.effective_backend,
            schema_digest=schema.digest,
            ir_digest=digest(ir_json),
            finish_reason=run.attempts[-1].finish_reason or FinishReason.STOP,
            usage=run.usage,
            attempts=run.attempts,
            timings=Timings(
                queue=run.admission_seconds + (run.engine_queue_seconds or 0.0),
                time_to_first_token=(run.first_token or now) - run.arrival,
                total=now - run.arrival,
            ),
            schema_notices=schema.notices,
            schema_shown=prompt.schema_shown,
            lora_adapter=run.request.lora_adapter,
            closed_early=closed_early,
        )


def _attempt(plan: AttemptPlan, written: AttemptText) -> Attempt:
    usage = Usage(
        len(plan.prompt.token_ids), written.cached_prompt_tokens, written.completion_tokens
    )
    return Attempt(plan.number, plan.reason, written.finish_reason, usage, written.resumptions)


async def _admission(run: _Run, prompt: Prompt, ticket: Ticket | None) -> None:
    if ticket is not None:
        began = time.monotonic()
        await ticket.wait(len(prompt.token_ids) + prompt.max_tokens, run.request.priority)
        run.admission_seconds = time.monotonic() - began


def _failure(run: _Run, prompt: Prompt, verdict: Verdict, raw: str) -> GenirError:
    if verdict.reason is None:
        raise AssertionError("only a failed verdict has a failure")
    return GenirError(
        verdict.reason,
        _FAILURE_MESSAGES[verdict.reason].format(
            max_tokens=prompt.max_tokens, attempts=len(run.attempts)
        ),
        failure=GenerationFailure(
            finish_reason=run.attempts[-1].finish_reason,
            usage=run.usage,
            attempts=run.attempts,
            violations=verdict.violations,
            raw=raw,
        ),
        metadata={"attempts": str(len(run.attempts)), "max_tokens": str(prompt.max_tokens)},
    )
