"""IRService over gRPC: takes messages apart, asks the core, puts messages together."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from genir.v1 import ir_service_pb2 as service
from genir.v1 import ir_service_pb2_grpc as service_grpc
from genir.v1 import status_pb2 as status
from genir_server.auth.identity import peer_host
from genir_server.core.validate import check_message_count, check_schema_count
from genir_server.domain.caller import Permission
from genir_server.domain.errors import GenirError, invalid_field
from genir_server.domain.types import Accepted, Completed, TextDelta
from genir_server.observability.versions import installed_versions
from genir_server.supervision.lifecycle import Phase
from genir_server.transport import convert, convert_schema
from genir_server.transport.interceptor import current_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from genir.v1 import generation_pb2 as generation
    from genir_server.admission import Admission
    from genir_server.domain.limits import RequestLimits
    from genir_server.domain.types import GenerationEvent
    from genir_server.observability.call_record import CallRecord
    from genir_server.schema.types import PreparedSchema
    from genir_server.supervision.lifecycle import Lifecycle

    Context = grpc.aio.ServicerContext[Any, Any]

UNARY_TOKENS_PER_DELTA = 32
"""Tokens that a delta waits for where nobody reads it: rare enough to cost nothing, often enough
for the log to tell how far a call came that was given up."""


class IRServicer(service_grpc.IRServiceServicer):
    """The methods of the contract.

    Args:
        lifecycle: tells the phase and holds the generator.
        admission: bounds the calls in flight and says whose turn it is.
        model: name of the model, known before the engine is.
        configured_backend: the structured-output backend asked for.
        limits: bounds on one request.
        tokens_per_delta: tokens that a stream's deltas wait for when its caller does not say.
        log_content: whether prompts and outputs go into the log.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        admission: Admission,
        *,
        model: str,
        configured_backend: str,
        limits: RequestLimits,
        tokens_per_delta: int = 1,
        log_content: bool = False,
    ) -> None:
        self._lifecycle = lifecycle
        self._admission = admission
        self._model = model
        self._configured_backend = configured_backend
        self._versions = status.Versions(**installed_versions())
        self._limits = limits
        self._tokens_per_delta = tokens_per_delta
        self._log_content = log_content

    async def GenerateIR(  # noqa: N802 - the name in the contract.
        self,
        request: service.GenerateIRRequest,
        context: Context,
    ) -> service.GenerateIRResponse:
        """One IR, whole."""
        events = self._events(request, context, UNARY_TOKENS_PER_DELTA)
        completed: Completed | None = None
        async with aclosing(events):
            # To its end: a generation that is closed before counts as broken off.
            async for event in events:
                if isinstance(event, Completed):
                    completed = event
        if completed is None:
            raise AssertionError("a generation ends with Completed or raises")
        return convert.completed_to_proto(completed)

    # Bytes, because most deltas have been encoded before; no serializer is given to gRPC.
    async def StreamIR(  # type: ignore[override]  # noqa: N802 - the name in the contract.
        self,
        request: service.StreamIRRequest,
        context: Context,
    ) -> AsyncGenerator[bytes, None]:
        """One IR while it is written: each message as the bytes of a `StreamIRResponse`."""
        asked = request.HasField("tokens_per_delta")
        events = self._events(
            request, context, request.tokens_per_delta if asked else self._tokens_per_delta
        )
        async with aclosing(events):
            async for event in events:
                yield convert.event_to_message(event)

    async def CheckSchema(  # noqa: N802 - the name in the contract.
        self,
        request: service.CheckSchemaRequest,
        context: Context,
    ) -> service.CheckSchemaResponse:
        """How well a schema can be enforced."""
        checker = self._lifecycle.serving_schema_checker()
        record = current_call()
        asked = convert_schema.schema_check_from_request(request, _who(record, context))
        check = await checker.check(asked)
        record.facts.update({"schema_digest": check.schema.digest, "cached": check.cached})
        return convert_schema.schema_check_to_proto(check, record.request_id)

    async def Health(  # noqa: N802 - the name in the contract.
        self,
        request: service.HealthRequest,
        context: Context,  # noqa: ARG002 - what grpc.aio passes.
    ) -> service.HealthResponse:
        """How the server is."""
        if request.deep:
            current_call().caller.require(Permission.DEBUG)
        lifecycle = self._lifecycle
        response = service.HealthResponse(
            phase=convert.phase_to_proto(lifecycle.phase),
            ready=lifecycle.ready,
            phase_elapsed=convert.duration(time.monotonic() - lifecycle.phase_began_at),
            uptime=convert.duration(time.monotonic() - lifecycle.started_at),
            message=lifecycle.message,
            lame_duck=lifecycle.lame_duck,
            model=self._model,
            configured_structured_output_backend=self._configured_backend,
            versions=self._versions,
            activity=status.EngineActivity(calls_in_flight=self._admission.in_flight),
        )
        if lifecycle.schema_checker is not None:
            response.schema_cache.CopyFrom(
                convert_schema.schema_statistics_to_proto(lifecycle.schema_checker.statistics)
            )
        engine = lifecycle.engine
        if engine is not None:
            activity = engine.activity()
            response.structured_output_backend = engine.effective_backend
            response.lora_adapters.extend(engine.info.lora_adapters)
            response.max_model_len = engine.info.max_model_len
            response.activity.running = activity.running
            response.activity.waiting = activity.waiting + self._admission.waiting
            if activity.last_step_time is not None:
                response.activity.last_step_time.FromNanoseconds(
                    round(activity.last_step_time * 1e9)
                )
        if request.deep and lifecycle.phase is Phase.READY and lifecycle.self_test is not None:
            await self._deep_check(response)
        return response

    async def Warmup(  # noqa: N802 - the name in the contract.
        self,
        request: service.WarmupRequest,
        context: Context,
    ) -> service.WarmupResponse:
        """The IR of the warm-up generation, run now if need be."""
        began = time.monotonic()
        check_schema_count(len(request.json_schemas), self._limits)
        self_test = await self._lifecycle.wait_ready()
        schemas: list[PreparedSchema | GenirError] = []
        if request.json_schemas:
            checker = self._lifecycle.serving_schema_checker()
            who = _who(current_call(), context)
            schemas = await checker.keep_ready(request.json_schemas, who)
        warm = None if request.force else self_test.warm
        already_warm = warm is not None
        if warm is None:
            with self._admission.reserved():
                warm = await self_test.warm_up()
        completed = warm.completed
        record = current_call()
        record.facts.update(
            {
                "already_warm": already_warm,
                "model": completed.model,
            }
        )
        return service.WarmupResponse(
            ir_json=completed.ir_json,
            already_warm=already_warm,
            elapsed=convert.duration(time.monotonic() - began),
            generation_elapsed=convert.duration(warm.elapsed),
            model=completed.model,
            structured_output_backend=completed.structured_output_backend,
            schema_digest=completed.schema_digest,
            usage=convert.usage_to_proto(completed.usage),
            request_id=record.request_id,
            schemas=map(convert_schema.warmed_schema_to_proto, schemas),
        )

    async def _deep_check(self, response: service.HealthResponse) -> None:
        if self._lifecycle.self_test is None:
            return
        try:
            canary = await self._lifecycle.self_test.canary()
        except GenirError as error:
            response.message = f"The canary generation failed: {error.message}"
            response.canary_failure = status.ErrorReason.Value(f"ERROR_REASON_{error.reason.value}")
            current_call().facts["canary_failure"] = error.reason.value
            return
        response.ir_json = canary.completed.ir_json
        response.canary_elapsed.CopyFrom(convert.duration(canary.elapsed))

    async def _events(
        self,
        request: service.GenerateIRRequest | service.StreamIRRequest,
        context: Context,
        tokens_per_delta: int,
    ) -> AsyncGenerator[GenerationEvent, None]:
        record = current_call()
        if not request.HasField("spec"):
            raise invalid_field("spec", "is required")
        # Cheap refusals first: converting a hostile message takes time that others would miss.
        generator = self._lifecycle.serving_generator()
        who = _who(record, context)
        admitted = self._admission.admit(
            who,
            record.deadline,
            request.spec.priority,
            least_tokens=request.spec.max_tokens,
        )
        with admitted as visit:
            record.marks.admitted = time.monotonic()
            check_message_count(len(request.spec.conversation.messages), self._limits)
            domain_request = convert.request_from_spec(
                request.spec,
                request.spec.request_id or record.request_id,
                tokens_per_delta,
                caller=who,
                deadline=record.deadline,
            )
            async with aclosing(generator.run(domain_request, visit)) as events:
                async for event in events:
                    self._note(record, event, request.spec)
                    yield event

    def _note(
        self, record: CallRecord, event: GenerationEvent, spec: generation.GenerationSpec
    ) -> None:
        match event:
            case TextDelta():
                record.completion_tokens += event.token_count
                if record.marks.first_token is None:
                    record.marks.first_token = time.monotonic()
            case Accepted():
                record.marks.accepted = time.monotonic()
                record.marks.queued = record.marks.accepted - event.turn_seconds
                record.facts.update(
                    {
                        "model": event.model,
                        "schema_digest": event.schema_digest,
                        "prompt_tokens": event.prompt_tokens,
                        "schema_seconds": round(event.schema_seconds, 4),
                    }
                )
                if self._log_content:
                    record.facts["input"] = spec.prompt or str(spec.conversation)
            case Completed():
                record.facts.update(
                    {
                        "backend": event.structured_output_backend,
                        "attempts": len(event.attempts),
                        "finish_reason": event.finish_reason,
                        "completion_tokens": event.usage.completion_tokens,
                        "cached_prompt_tokens": event.usage.cached_prompt_tokens,
                        "queue_seconds": round(event.timings.queue, 4),
                        "ttft_seconds": round(event.timings.time_to_first_token, 4),
                    }
                )
                if self._log_content:
                    record.facts["output"] = event.ir_json


def _who(record: CallRecord, context: Context) -> str:
    """Who takes turns with others: an authenticated caller by name, anyone else by host."""
    return record.caller.name or peer_host(context)
