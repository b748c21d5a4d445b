"""IRService over gRPC: converts requests, calls the core, converts its answers."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from genir.v1 import ir_service_pb2 as service
from genir.v1 import ir_service_pb2_grpc as service_grpc
from genir_server.auth.peer import peer_host
from genir_server.core.validate import check_message_count, check_schema_count
from genir_server.domain.caller import Permission
from genir_server.domain.errors import GenirError, invalid_field
from genir_server.domain.shared_places import SharedPlaces
from genir_server.domain.types import Completed
from genir_server.observability.versions import installed_versions
from genir_server.supervision.lifecycle import Phase
from genir_server.transport import convert, convert_health, convert_schema
from genir_server.transport.interceptor import current_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from genir_server.admission import Admission
    from genir_server.core.self_test import SelfTestResult
    from genir_server.domain.limits import RequestLimits
    from genir_server.domain.types import GenerationEvent
    from genir_server.observability.call_record import CallRecord
    from genir_server.schema.types import PreparedSchema
    from genir_server.supervision.lifecycle import Lifecycle

    Context = grpc.aio.ServicerContext[Any, Any]

UNARY_TOKENS_PER_DELTA = 32
"""`tokens_per_delta` of calls that get no deltas: large enough to cost little, small enough that
the log shows how far an abandoned call came."""

_MAX_WARM_UPS = 128
_MAX_WARM_UPS_PER_CALLER = 64


class IRServicer(service_grpc.IRServiceServicer):
    """The methods of the contract.

    Args:
        lifecycle: the phase, the generator and the schema checker.
        admission: limits the calls in flight and queues them.
        model: name of the model, known before the engine is up.
        configured_backend: the structured-output backend that the operator set.
        limits: limits on one request.
        tokens_per_delta: default for streams whose caller sets none.
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
    ) -> None:
        self._lifecycle = lifecycle
        self._admission = admission
        self._model = model
        self._configured_backend = configured_backend
        self._versions = installed_versions()
        self._limits = limits
        self._tokens_per_delta = tokens_per_delta
        self._warm_ups = SharedPlaces(
            "warm-ups are in flight", _MAX_WARM_UPS, _MAX_WARM_UPS_PER_CALLER
        )

    async def GenerateIR(  # noqa: N802 - the name in the contract.
        self,
        request: service.GenerateIRRequest,
        context: Context,
    ) -> service.GenerateIRResponse:
        """One IR, in one answer."""
        events = self._events(request, context, UNARY_TOKENS_PER_DELTA)
        completed: Completed | None = None
        async with aclosing(events):
            # Iterated to the end: a generation closed before counts as abandoned.
            async for event in events:
                if isinstance(event, Completed):
                    completed = event
        if completed is None:
            raise AssertionError("a generation ends with Completed or raises")
        return convert.completed_to_proto(completed)

    # Yields bytes, because most encoded deltas come from a cache; gRPC gets no serializer.
    async def StreamIR(  # type: ignore[override]  # noqa: N802 - the name in the contract.
        self,
        request: service.StreamIRRequest,
        context: Context,
    ) -> AsyncGenerator[bytes, None]:
        """One IR while it is written: each message as the bytes of a `StreamIRResponse`."""
        tokens_per_delta = self._tokens_per_delta
        if request.HasField("tokens_per_delta"):
            tokens_per_delta = request.tokens_per_delta
        events = self._events(request, context, tokens_per_delta)
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
        asked = convert_schema.schema_check_from_request(request, _caller_name(record, context))
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
        canary = await self._canary() if request.deep else None
        return convert_health.health_to_proto(
            self._lifecycle,
            self._admission,
            model=self._model,
            configured_backend=self._configured_backend,
            versions=self._versions,
            canary=canary,
        )

    async def Warmup(  # noqa: N802 - the name in the contract.
        self,
        request: service.WarmupRequest,
        context: Context,
    ) -> service.WarmupResponse:
        """The IR of the warm-up generation, which runs now if it has not yet."""
        check_schema_count(len(request.json_schemas), self._limits)
        record = current_call()
        caller = _caller_name(record, context)
        # Each may wait for the engine to start, and holds its schemas meanwhile.
        with self._warm_ups.held(caller):
            return await self._warm_up(request, record, caller)

    async def _warm_up(
        self, request: service.WarmupRequest, record: CallRecord, caller: str
    ) -> service.WarmupResponse:
        began = time.monotonic()
        self_test = await self._lifecycle.wait_ready()
        schemas: list[PreparedSchema | GenirError] = []
        if request.json_schemas:
            checker = self._lifecycle.serving_schema_checker()
            schemas = await checker.keep_ready(request.json_schemas, caller)
        warm_up = None if request.force else self_test.warm
        already_warm = warm_up is not None
        if warm_up is None:
            with self._admission.reserved():
                warm_up = await self_test.warm_up()
        record.facts.update({"already_warm": already_warm, "model": warm_up.completed.model})
        return convert_health.warmup_to_proto(
            warm_up,
            schemas,
            already_warm=already_warm,
            elapsed=time.monotonic() - began,
            request_id=record.request_id,
        )

    async def _canary(self) -> SelfTestResult | GenirError | None:
        """A canary generation or its error; None while the server is not ready."""
        if self._lifecycle.phase is not Phase.READY or self._lifecycle.self_test is None:
            return None
        try:
            return await self._lifecycle.self_test.canary()
        except GenirError as error:
            current_call().facts["canary_failure"] = error.reason.value
            return error

    async def _events(
        self,
        request: service.GenerateIRRequest | service.StreamIRRequest,
        context: Context,
        tokens_per_delta: int,
    ) -> AsyncGenerator[GenerationEvent, None]:
        record = current_call()
        if not request.HasField("spec"):
            raise invalid_field("spec", "is required")
        # The cheap refusals come first: converting a hostile message would delay other calls.
        generator = self._lifecycle.serving_generator()
        caller = _caller_name(record, context)
        across_callers = Permission.PRIORITY in record.caller.permissions
        admitted = self._admission.admit(
            caller,
            record.deadline,
            request.spec.priority,
            across_callers=across_callers,
            min_tokens=request.spec.max_tokens,
        )
        with admitted as ticket:
            record.marks.admitted = time.monotonic()
            check_message_count(len(request.spec.conversation.messages), self._limits)
            record.request = convert.request_from_spec(
                request.spec,
                record.request_id,
                tokens_per_delta,
                caller=caller,
                priority_across_callers=across_callers,
                deadline=record.deadline,
            )
            async with aclosing(generator.run(record.request, ticket)) as events:
                async for event in events:
                    record.note(event)
                    yield event


def _caller_name(record: CallRecord, context: Context) -> str:
    """The name used for fairness: an authenticated caller's own, or else the peer's host."""
    return record.caller.name or peer_host(context)
