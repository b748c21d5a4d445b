"""One request from its checks to its verified IR.

`IRGenerator.run` yields events; a transport forwards them. It raises `GenirError` for everything
that is not a valid IR, and lets cancellation through after the engine has let go of the request.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.core.attempts import Attempts
from genir_server.core.prompt import build_prompt
from genir_server.core.schema_check import schema_in_force
from genir_server.core.validate import check_sampling, validate_request
from genir_server.core.verify import judge
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
from genir_server.engine.protocol import EngineDeadError, EngineRejectedError, EngineRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from genir_server.core.prompt import Prompt
    from genir_server.core.turn import Turn
    from genir_server.core.verify import Verdict
    from genir_server.domain.types import GenerationEvent, GenerationRequest, TextDelta
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema, SchemaPreparer

_JUDGED_IN_A_THREAD_FROM = 8_192
"""Characters of text from which judging it would hold the event loop up."""
# Threads of their own: those that others use must not fill up with callers who wait.
_BLOCKING_JUDGES = ThreadPoolExecutor(8, thread_name_prefix="genir-judge")
_FAILURE_MESSAGES = {
    Reason.TRUNCATED: "max_tokens ({max_tokens}) was reached before the JSON was complete: "
    "raise max_tokens or bound the schema more tightly",
    Reason.VALIDATION_FAILED: "none of {attempts} attempt(s) was valid against the schema: "
    "see the violations, ask again, or loosen the schema",
    Reason.CONSTRAINT_FAILED: "in {attempts} attempt(s) the engine stopped before the JSON was "
    "complete: simplify the schema or ask again",
}


@dataclass(slots=True)
class _Run:
    """What one call has gathered so far."""

    request: GenerationRequest
    arrival: float
    schema_seconds: float = 0.0
    turn_seconds: float = 0.0
    queue_seconds: float | None = None
    first_token: float | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def usage(self) -> Usage:
        return sum((attempt.usage for attempt in self.attempts), Usage())


@dataclass(slots=True)
class _Writing:
    """What one attempt has written so far."""

    text: list[str]
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    finish_reason: FinishReason | None = None


class IRGenerator:
    """Turns requests into verified IRs with one engine.

    Args:
        engine: the engine to run on.
        schemas: prepares the callers' schemas.
        builtin_schema: the schema in force when a caller sends none.
        limits: bounds on one request.
    """

    def __init__(
        self,
        engine: Engine,
        schemas: SchemaPreparer,
        builtin_schema: PreparedSchema,
        limits: RequestLimits | None = None,
    ) -> None:
        self.engine = engine
        self.builtin_schema = builtin_schema
        self._schemas = schemas
        self._limits = limits or RequestLimits()

    async def run(
        self, request: GenerationRequest, turn: Turn | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Checks a request, waits for its turn, generates, and yields what happens.

        Close the generator (or cancel the task that iterates it) to abandon the request.

        Args:
            request: the request.
            turn: says when it may go to the engine; None for at once.

        Raises:
            GenirError: the request was refused or failed.
        """
        run = _Run(request, arrival=time.monotonic())
        validate_request(request, self._limits)
        self._check_model(request)
        check_sampling(request.sampling, self.engine.info.unsupported_sampling)
        schema_asked = time.monotonic()
        schema = await schema_in_force(
            self._schemas,
            self.builtin_schema,
            request.json_schema,
            request.schema_digest,
            caller=request.caller,
        )
        run.schema_seconds = time.monotonic() - schema_asked
        prompt = await build_prompt(request, schema, self.engine)
        _check_budget(prompt, schema)
        if turn is not None:
            began = time.monotonic()
            await turn.wait(len(prompt.token_ids) + prompt.max_tokens, request.priority)
            run.turn_seconds = time.monotonic() - began
        yield self._accepted(run, schema, prompt)

        attempts = Attempts(request, schema, prompt, self._schemas, self.engine)
        plan = await attempts.first()
        while True:
            yield AttemptStarted(plan.number, plan.reason)
            began = time.monotonic()
            writing = _Writing([])
            engine_request = EngineRequest(
                # The engine wants ids that are unique; callers may use one id for several calls.
                request_id=f"{request.request_id}/{plan.number}/{uuid.uuid4().hex[:12]}",
                prompt_token_ids=plan.prompt.token_ids,
                schema=plan.engine_schema,
                sampling=plan.sampling,
                max_tokens=plan.prompt.max_tokens,
                priority=request.priority,
                lora_adapter=request.lora_adapter,
                tokens_per_delta=request.tokens_per_delta,
            )
            async with aclosing(self._write(run, writing, engine_request)) as deltas:
                async for delta in deltas:
                    yield delta
            usage = Usage(
                len(plan.prompt.token_ids),
                writing.cached_prompt_tokens,
                writing.completion_tokens,
            )
            run.attempts += (Attempt(plan.number, plan.reason, writing.finish_reason, usage),)
            raw = "".join(writing.text)
            verdict = await _judged(raw, writing.finish_reason, schema)
            if verdict.reason is None:
                yield self._completed(run, schema, prompt, verdict.ir_json)
                return
            following = await attempts.after(plan, verdict, raw, time.monotonic() - began)
            if following is None:
                raise _failure(run, prompt, verdict, raw)
            plan = following

    async def _write(
        self, run: _Run, writing: _Writing, engine_request: EngineRequest
    ) -> AsyncGenerator[TextDelta, None]:
        try:
            async with aclosing(self.engine.generate(engine_request)) as deltas:
                async for delta in deltas:
                    if delta.queue_seconds is not None and run.queue_seconds is None:
                        run.queue_seconds = delta.queue_seconds
                    if delta.cached_prompt_tokens is not None:
                        writing.cached_prompt_tokens = delta.cached_prompt_tokens
                    if delta.finish_reason is not None:
                        writing.finish_reason = delta.finish_reason
                    writing.completion_tokens += delta.token_count
                    if delta.text:
                        writing.text.append(delta.text)
                    if delta.text or delta.token_count:
                        run.first_token = run.first_token or time.monotonic()
                        yield delta
        except EngineDeadError as fault:
            raise GenirError(
                Reason.ENGINE_DEAD, "the engine died while it worked on this request"
            ) from fault
        except EngineRejectedError as fault:
            raise GenirError(
                Reason.SCHEMA_UNSUPPORTED,
                f"the engine refused the request: {fault}",
                fields=(FieldViolation("spec.json_schema", "is refused by the engine"),),
            ) from fault

    def _check_model(self, request: GenerationRequest) -> None:
        info = self.engine.info
        if request.model not in ("", info.model):
            raise GenirError(
                Reason.MODEL_NOT_FOUND,
                f"the model is not served here; served: {info.model}",
                fields=(FieldViolation("spec.model", f"must be empty or {info.model}"),),
                metadata={"served": info.model},
            )
        if request.lora_adapter and request.lora_adapter not in info.lora_adapters:
            served = ", ".join(info.lora_adapters) or "none"
            raise GenirError(
                Reason.LORA_ADAPTER_NOT_FOUND,
                f"the LoRA adapter is not loaded here; loaded: {served}",
                fields=(FieldViolation("spec.lora_adapter", f"must be one of: {served}"),),
                metadata={"loaded": served},
            )

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
            turn_seconds=run.turn_seconds,
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
                queue=run.turn_seconds + (run.queue_seconds or 0.0),
                time_to_first_token=(run.first_token or now) - run.arrival,
                total=now - run.arrival,
            ),
            schema_notices=schema.notices,
            schema_shown=prompt.schema_shown,
            lora_adapter=run.request.lora_adapter,
        )


async def _judged(raw: str, finish_reason: FinishReason | None, schema: PreparedSchema) -> Verdict:
    if schema.verifier.may_block:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_BLOCKING_JUDGES, judge, raw, finish_reason, schema)
    if len(raw) > _JUDGED_IN_A_THREAD_FROM:
        return await asyncio.to_thread(judge, raw, finish_reason, schema)
    return judge(raw, finish_reason, schema)


def _check_budget(prompt: Prompt, schema: PreparedSchema) -> None:
    if prompt.max_tokens < schema.min_tokens:
        raise GenirError(
            Reason.BUDGET_TOO_SMALL,
            f"no value that satisfies the schema fits in {prompt.max_tokens} tokens; the smallest "
            f"takes at least {schema.min_tokens}: raise max_tokens or shorten the prompt",
            fields=(FieldViolation("spec.max_tokens", f"must be {schema.min_tokens} or more"),),
            metadata={
                "max_tokens": str(prompt.max_tokens),
                "min_tokens": str(schema.min_tokens),
            },
        )


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
