"""Step 3, generate, and the order of all five steps: validate, prompt, generate, normalize, verify.

`IRGenerator.run` yields events, which a transport forwards. It raises `GenirError` for everything
that is not a valid IR. When it is cancelled or closed, the engine drops the request first.
"""

from __future__ import annotations

import time
import uuid
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from genir_server.core.attempts import Attempts
from genir_server.core.prompt import build_prompt
from genir_server.core.prompt_queue import PromptQueue, prompt_characters
from genir_server.core.schema_in_force import schema_in_force
from genir_server.core.validate import validate_request
from genir_server.domain.digest import digest
from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.domain.types import (
    Accepted,
    Attempt,
    AttemptStarted,
    Completed,
    FinishReason,
    GenerationFailure,
    Timings,
    Usage,
)
from genir_server.engine.protocol import (
    EngineDeadError,
    EngineRejectedError,
    EngineRequest,
    EngineUnavailableError,
)

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

_UNAVAILABLE_RETRY_SECONDS = 1.0
"""Seconds to wait before a request that the engine could not run is sent again."""


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


@dataclass(slots=True)
class _Output:
    """What one attempt has written so far."""

    text: list[str] = field(default_factory=list)
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    finish_reason: FinishReason | None = None


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
            output = _Output()
            async with aclosing(self._generate(run, plan, output)) as deltas:
                async for delta in deltas:
                    yield delta
            raw = "".join(output.text)
            verdict = await self._verification.verdict(
                raw, output.finish_reason, schema, request.caller
            )
            if verdict.reason is None:
                yield self._completed(run, schema, prompt, verdict.ir_json)
                return
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

    async def _generate(
        self, run: _Run, plan: AttemptPlan, output: _Output
    ) -> AsyncGenerator[TextDelta, None]:
        request = run.request
        engine_request = EngineRequest(
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
        try:
            async with aclosing(self.engine.generate(engine_request)) as deltas:
                async for delta in deltas:
                    if delta.queue_seconds is not None and run.engine_queue_seconds is None:
                        run.engine_queue_seconds = delta.queue_seconds
                    if delta.cached_prompt_tokens is not None:
                        output.cached_prompt_tokens = delta.cached_prompt_tokens
                    if delta.finish_reason is not None:
                        output.finish_reason = delta.finish_reason
                    output.completion_tokens += delta.token_count
                    if delta.text:
                        output.text.append(delta.text)
                    if delta.text or delta.token_count:
                        run.first_token = run.first_token or time.monotonic()
                        yield delta
        except EngineDeadError as fault:
            raise GenirError(
                Reason.ENGINE_DEAD, "the engine died while it worked on this request"
            ) from fault
        except EngineUnavailableError as fault:
            raise GenirError(
                Reason.ENGINE_UNAVAILABLE,
                f"the engine could not run this request now: {fault}",
                retry_after=_UNAVAILABLE_RETRY_SECONDS,
            ) from fault
        except EngineRejectedError as fault:
            raise GenirError(
                Reason.SCHEMA_UNSUPPORTED,
                f"the engine refused the request: {fault}",
                fields=(FieldViolation("spec.json_schema", "is refused by the engine"),),
            ) from fault
        usage = Usage(
            len(plan.prompt.token_ids), output.cached_prompt_tokens, output.completion_tokens
        )
        run.attempts += (Attempt(plan.number, plan.reason, output.finish_reason, usage),)

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
        self, run: _Run, schema: PreparedSchema, prompt: Prompt, ir_json: str
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
        )


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
