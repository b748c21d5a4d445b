"""The asyncio client."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from genir._loops import LoopOwner, is_forked
from genir._methods import CHECK_SCHEMA, HEALTH, PROBE, STREAM_IR, WARMUP
from genir._readiness import ReadinessWait
from genir._request import check_schema_request, warmup_request
from genir._retry import NO_RETRIES, CallBudget
from genir._schema import schema_argument
from genir._settings import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_READY_TIMEOUT,
    TOKENS_PER_DELTA_OF_GENERATE,
    ClientSettings,
)
from genir._status import error_from_rpc
from genir.errors import GenirError
from genir.v1 import ir_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from types import TracebackType
    from typing import Unpack

    from typing_extensions import TypeForm

    from genir._methods import UnaryMethod
    from genir._request import GenerationOptions, Prompt
    from genir._schema import AnySchema, ListedSchema, PlainSchema, TypedSchema
    from genir._settings import StreamCall
    from genir.ir import IR
    from genir.types import IRResult, SchemaCheck, ServerHealth, StreamEvent, WarmupResult

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")


class AsyncIRStream(Generic[T]):
    """The events of one generation, in order. The call starts when the first event is read.

    Iterate it inside ``async with``: leaving the block, or `aclose`, cancels a call that has not
    ended. Iteration raises `GenirError` when the call fails; its `raw_output` is the text received
    before.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent[T]], call: StreamCall[T]) -> None:
        self._events = events
        self._reader = call.reader

    @property
    def text(self) -> str:
        """The text of the current attempt so far."""
        return self._reader.raw_output

    async def result(self) -> IRResult[T]:
        """Reads the rest of the stream and returns its result."""
        async for _ in self._events:
            pass
        return self._reader.result

    async def aclose(self) -> None:
        """Cancels the call if it has not ended."""
        await self._events.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent[T]:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncIRClient(ClientSettings):
    """An asyncio client of one genir service. One event loop after another may use it.

    It does not work in a process that was forked after a call of this or another client.
    Use it in ``async with``, or `aclose` it. The constructor takes the arguments of
    `ClientSettings`. Every method raises a subclass of `GenirError` when its call fails, and
    ValueError or TypeError for arguments that a request cannot hold.
    """

    _channel: grpc.aio.Channel | None = None
    _closed = False

    @cached_property
    def _owner(self) -> LoopOwner:
        return LoopOwner()

    async def aclose(self) -> None:
        """Closes the connection and cancels calls in flight. Safe to call again."""
        self._closed = True
        if self._channel is not None and not is_forked():
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def wait_ready(
        self,
        timeout: float = DEFAULT_READY_TIMEOUT,
        *,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        on_progress: Callable[[ServerHealth | None], None] | None = None,
    ) -> ServerHealth:
        """Waits until the server accepts generate calls.

        Args:
            timeout: maximum wait in seconds. Default 600.
            poll_interval: seconds between two health checks. Default 0.5.
            on_progress: called after each health check, with None when the server did not answer.

        Raises:
            UnavailableError: the server was not ready in time (reason NOT_READY), or its engine has
                failed (reason ENGINE_DEAD).

        """
        wait = ReadinessWait(self._deadline(timeout), poll_interval, on_progress)
        while True:
            outcome = await self._probe(wait.probe_timeout)
            pause = wait.pause_after(outcome)
            if pause is None and not isinstance(outcome, GenirError):
                return outcome
            await asyncio.sleep(pause or 0)

    @overload
    async def generate(
        self,
        prompt: Prompt,
        *,
        schema: None = None,
        schema_digest: None = None,
        timeout: float | None = None,
        **options: Unpack[GenerationOptions],
    ) -> IRResult[IR]: ...
    @overload
    async def generate(
        self,
        prompt: Prompt,
        *,
        schema: PlainSchema = None,
        schema_digest: str | None = None,
        timeout: float | None = None,
        **options: Unpack[GenerationOptions],
    ) -> IRResult[Any]: ...
    @overload
    async def generate(
        self,
        prompt: Prompt,
        *,
        schema: TypedSchema[T],
        schema_digest: None = None,
        timeout: float | None = None,
        **options: Unpack[GenerationOptions],
    ) -> IRResult[T]: ...
    @overload
    async def generate(
        self,
        prompt: Prompt,
        *,
        schema: TypeForm[T],
        schema_digest: None = None,
        timeout: float | None = None,
        **options: Unpack[GenerationOptions],
    ) -> IRResult[T]: ...
    async def generate(
        self,
        prompt: Prompt,
        *,
        schema: AnySchema = None,
        schema_digest: str | None = None,
        timeout: float | None = None,
        **options: Unpack[GenerationOptions],
    ) -> IRResult[Any]:
        """Generates one IR.

        Args:
            prompt: one user message, or a conversation as a sequence of `Message`s or mappings
                with the keys role and content.
            schema: JSON Schema as text, mapping or `pathlib.Path` of a file; or a Python type that
                pydantic knows, or its `TypeAdapter`, of which the result's `value` then is.
                Default: the built-in IR schema, whose type is `genir.IR`.
            schema_digest: digest of a schema that the server has cached, instead of `schema`.
            timeout: deadline in seconds, retries included. Default: the client's.
            options: see `GenerationOptions`.

        Raises:
            GenirError: there is no valid IR. The subclass and `reason` say why, and `raw_output` is
                the text received from the last attempt.

        """
        argument = schema_argument(schema, schema_digest)
        call = self._stream_call(
            prompt,
            argument,
            timeout,
            options,
            tokens_per_delta=TOKENS_PER_DELTA_OF_GENERATE,
            result_only=True,
        )
        async with AsyncIRStream(self._events(call), call) as stream:
            return await stream.result()

    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        schema: None = None,
        schema_digest: None = None,
        timeout: float | None = None,
        tokens_per_delta: int | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncIRStream[IR]: ...
    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        schema: PlainSchema = None,
        schema_digest: str | None = None,
        timeout: float | None = None,
        tokens_per_delta: int | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncIRStream[Any]: ...
    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        schema: TypedSchema[T],
        schema_digest: None = None,
        timeout: float | None = None,
        tokens_per_delta: int | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncIRStream[T]: ...
    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        schema: TypeForm[T],
        schema_digest: None = None,
        timeout: float | None = None,
        tokens_per_delta: int | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncIRStream[T]: ...
    def stream(
        self,
        prompt: Prompt,
        *,
        schema: AnySchema = None,
        schema_digest: str | None = None,
        timeout: float | None = None,
        tokens_per_delta: int | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncIRStream[Any]:
        """Generates one IR and yields its events while the model writes. Arguments as `generate`.

        The deadline starts with this call, not with the first event. `tokens_per_delta`, 1 to 1024,
        is the number of tokens that the server collects for one `TextDelta`; it sends the first
        token and the end of an attempt immediately. More tokens per delta use less CPU on both
        sides. Default: the server's setting.
        """
        argument = schema_argument(schema, schema_digest)
        call = self._stream_call(
            prompt, argument, timeout, options, tokens_per_delta=tokens_per_delta
        )
        return AsyncIRStream(self._events(call), call)

    async def check_schema(
        self,
        schema: AnySchema = None,
        *,
        schema_digest: str | None = None,
        include_engine_schema: bool = False,
        timeout: float | None = None,
    ) -> SchemaCheck:
        """Checks, without generating, whether and how well a schema can be enforced.

        Args:
            schema: as for `generate`. Default: the built-in IR schema.
            schema_digest: digest of a schema that the server has cached, instead of `schema`.
            include_engine_schema: whether the result includes the schema that decoding enforces.
            timeout: deadline in seconds. Default: the client's.

        Raises:
            SchemaError: the schema cannot be used; `metadata` holds the pointer and the limit.
            GenirError: the call did not succeed.

        """
        argument = schema_argument(schema, schema_digest)
        request = check_schema_request(argument, include_engine_schema=include_engine_schema)
        check = await self._unary(CHECK_SCHEMA, request, self._budget(timeout))
        self._known_schemas.learn(check.schema_digest)
        return check

    async def health(self, *, deep: bool = False, timeout: float | None = None) -> ServerHealth:
        """Returns the server's state. `deep` also runs a short generation through the engine."""
        request = ir_service_pb2.HealthRequest(deep=deep)
        return await self._unary(HEALTH, request, self._budget(timeout))

    async def probe(self, name: str = "readiness", *, timeout: float | None = None) -> bool:
        """Returns whether the standard health service, grpc.health.v1, reports SERVING for a name.

        The only method that a server's `--health-port` answers, too.
        """
        request = health_pb2.HealthCheckRequest(service=name)
        return await self._unary(PROBE, request, self._budget(timeout))

    async def warmup(
        self,
        *,
        force: bool = False,
        schemas: Sequence[ListedSchema] = (),
        timeout: float | None = None,
    ) -> WarmupResult:
        """Waits for the engine and warms it up.

        Args:
            force: whether to generate again when the engine is already warm. Default false.
            schemas: up to 64 schemas to prepare, each as for `generate`, so that the first call
                with one of them does not wait for it. A schema that cannot be used does not fail
                the call; its entry in the result's `schemas` says why.
            timeout: deadline in seconds. Default: the client's.

        Raises:
            GenirError: the call did not succeed.

        """
        request = warmup_request(schemas, force=force)
        result = await self._unary(WARMUP, request, self._budget(timeout))
        for schema in result.schemas:
            self._known_schemas.learn(schema.schema_digest)
        return result

    def _open_channel(self) -> grpc.aio.Channel:
        if self._closed:
            msg = "the client is closed"
            raise RuntimeError(msg)
        if self._owner.changes() or self._channel is None:
            self._channel = (
                grpc.aio.insecure_channel(self._target, self._options)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, self._options)
            )
        return self._channel

    async def _events(self, call: StreamCall[T]) -> AsyncGenerator[StreamEvent[T]]:
        while True:
            method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
            method = self._open_channel().unary_stream(STREAM_IR)
            messages = method(
                call.request.SerializeToString(),
                timeout=call.budget.remaining,
                metadata=self._metadata,
            )
            try:
                async for message in messages:
                    event = call.event(message)
                    if event is not None:
                        yield event
            except grpc.RpcError as rpc_error:
                pause = call.pause_before_retry(rpc_error)
            else:
                call.reader.end()
                return
            finally:
                messages.cancel()
            await asyncio.sleep(pause)

    async def _unary(
        self,
        method: UnaryMethod[RequestT, ResponseT, ResultT],
        request: RequestT,
        budget: CallBudget,
    ) -> ResultT:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        while True:
            call = self._open_channel().unary_unary(method.path)
            try:
                response = await call(
                    request.SerializeToString(), timeout=budget.remaining, metadata=self._metadata
                )
            except grpc.RpcError as rpc_error:
                secure = self._credentials is not None
                error = error_from_rpc(rpc_error, budget.timeout, secure=secure)
                pause = budget.pause_before_retry(error)
            else:
                return method.result(response, request)
            await asyncio.sleep(pause)

    async def _probe(self, timeout: float) -> ServerHealth | GenirError:
        request = ir_service_pb2.HealthRequest()
        try:
            return await self._unary(HEALTH, request, CallBudget(NO_RETRIES, timeout))
        except GenirError as error:
            return error
