"""What surrounds every call of IRService: decoding, request id, deadline, errors, its record.

This is the outermost interceptor, so that no fault of a servicer reaches a caller as UNKNOWN or as
the text of an exception. It leaves health checks and reflection alone (`standard_services.py`).

To gRPC, every method here takes a stream of messages. So a caller can be refused before its message
is read, and a call whose message never arrives can be ended: grpc.aio waits for the message of a
unary call without limit.
"""

from __future__ import annotations

import asyncio
import math
import time
import traceback
import uuid
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from genir_server.auth.authentication import Authentication, method_permission
from genir_server.core.validate import REQUEST_ID_RULE, is_request_id
from genir_server.domain.errors import GenirError, Reason, invalid_field
from genir_server.observability.call_record import CallEnd, CallRecord, call_facts
from genir_server.transport.faults import failure_of
from genir_server.transport.messages import (
    MESSAGE_SECONDS,
    CallOverError,
    decode_message,
    read_message,
)
from genir_server.transport.slow_reader import SlowReaderWatch
from genir_server.transport.status import CODES, REQUEST_ID_METADATA, end_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    from google.protobuf.message import Message

    from genir_server.observability.call_record import CallObserver

_TRACE_CONTEXT = ("traceparent", "tracestate")
_SERVICE_PREFIX = "/genir.v1.IRService/"

log = structlog.get_logger("genir.call")

_current: ContextVar[CallRecord] = ContextVar("genir_call")


def current_call() -> CallRecord:
    """The record of the call that the current task handles."""
    return _current.get()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of IRService.

    Args:
        default_deadline: seconds that a call without a deadline of its own may take.
        authentication: identifies callers. Default: every caller may do everything.
        slow_reader_timeout: seconds that the caller may leave a stream unread; then the call ends.
        message_timeout: seconds within which the request message must arrive.
        observers: notified of every call, in this order.
        log_content: whether text that may quote a prompt or an output goes into the log.
    """

    def __init__(
        self,
        default_deadline: float,
        authentication: Authentication | None = None,
        *,
        slow_reader_timeout: float = 60.0,
        message_timeout: float = MESSAGE_SECONDS,
        observers: Sequence[CallObserver] = (),
        log_content: bool = False,
    ) -> None:
        self._default_deadline = default_deadline
        self.authentication = authentication or Authentication()
        self._slow_reader_timeout = slow_reader_timeout
        self._message_timeout = message_timeout
        self._observers = observers
        self._log_content = log_content
        self._running: dict[asyncio.Task[Any], CallRecord] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - what grpc.aio declares.
        """Replaces the handler of an IRService method with a guarded one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_SERVICE_PREFIX):
            return handler
        name = method.removeprefix(_SERVICE_PREFIX)
        decode = handler.request_deserializer
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._guarded_stream(name, decode, handler.unary_stream),
                request_deserializer=None,
                # The servicer yields encoded messages.
                response_serializer=None,
            )
        return grpc.stream_unary_rpc_method_handler(
            self._guarded_unary(name, decode, handler.unary_unary),
            request_deserializer=None,
            response_serializer=handler.response_serializer,
        )

    def _guarded_unary(
        self, name: str, decode: Callable[[bytes], Message], behavior: Callable[..., Any]
    ) -> Callable[..., Any]:
        async def call(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> object:
            async with self._guard(name, context) as record:
                # No frame here keeps the request; see `_clear`.
                return await behavior(await self._receive(context, record, decode), context)

        return call

    def _guarded_stream(
        self, name: str, decode: Callable[[bytes], Message], behavior: Callable[..., Any]
    ) -> Callable[..., Any]:
        # This is a coroutine that writes, not a generator: grpc.aio never closes the generator of a
        # cancelled call, and the engine would drop the request only at garbage collection.
        async def call(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async with self._guard(name, context) as record:
                responses = behavior(await self._receive(context, record, decode), context)
                slow_reader = SlowReaderWatch(
                    self._slow_reader_timeout,
                    partial(self._cut_off_slow_reader, _this_task(), record),
                )
                with slow_reader.watching():
                    async with aclosing(responses):
                        async for response in responses:
                            # `write` waits while the caller's flow-control window is full.
                            slow_reader.write_began = time.monotonic()
                            await context.write(response)
                            slow_reader.write_began = None

        return call

    async def _receive(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        record: CallRecord,
        decode: Callable[[bytes], Message],
    ) -> Message:
        """The request of a caller who may make the call.

        Raises:
            GenirError: UNAUTHENTICATED, PERMISSION_DENIED, MESSAGE_UNDECODABLE, DEADLINE_EXCEEDED,
                or INVALID_FIELD for a malformed request id.
        """
        record.caller = self.authentication.caller_of(context)
        if record.caller.name:
            record.facts["caller"] = record.caller.name
        permission = method_permission(record.method)
        if permission is not None:
            record.caller.require(permission)
        raw = await read_message(context, self._message_timeout)
        request = decode_message(raw, decode, f"a {record.method}Request")
        spec = getattr(request, "spec", None)
        chosen_id = "" if spec is None else spec.request_id
        malformed = chosen_id and not is_request_id(chosen_id)
        if chosen_id and not malformed:
            record.request_id = chosen_id
        # Sent at once, so that the caller knows the id even if the call never ends.
        await context.send_initial_metadata(((REQUEST_ID_METADATA, record.request_id),))
        if malformed:
            raise invalid_field("spec.request_id", REQUEST_ID_RULE)
        return request

    def _cut_off_slow_reader(self, task: asyncio.Task[Any], record: CallRecord) -> None:
        # The caller may not read this status either, and may see its own deadline instead.
        record.cut_off = GenirError(
            Reason.DEADLINE_EXCEEDED,
            f"the caller did not read the stream for {self._slow_reader_timeout:g} s",
        )
        task.cancel()

    @asynccontextmanager
    async def _guard(
        self, name: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[CallRecord]:
        remaining = context.time_remaining()
        allowed = self._default_deadline if remaining is None else remaining
        record = CallRecord(name, f"gen-{uuid.uuid4().hex}", time.monotonic() + allowed)
        _current.set(record)
        for observer in self._observers:
            observer.call_began(record, _trace_context(context))
        failure: GenirError | None = None
        task = _this_task()
        self._running[task] = record
        deadline = asyncio.timeout(self._default_deadline if remaining is None else None)
        try:
            async with deadline:
                yield record
        except asyncio.CancelledError as stopped:
            if record.cut_off is None:
                self._abandoned(record, context, remaining)
                raise
            task.uncancel()
            failure = record.cut_off
            _clear(stopped)
        except CallOverError as over:
            record.facts["detail"] = over.detail
            self._ended(record, over.code, None)
            # The one end of a handler that makes grpc.aio send nothing and log no exception.
            raise asyncio.CancelledError from None
        except grpc.aio.InternalError:
            # grpc-core could not send, because the caller is gone.
            self._abandoned(record, context, remaining)
            raise asyncio.CancelledError from None
        except Exception as error:  # noqa: BLE001 - the last place that can turn it into a status.
            failure = self._failure_of(error, record, timed_out=deadline.expired())
            # Only after it was logged.
            _clear(error)
        finally:
            del self._running[task]
        if failure is None:
            context.set_trailing_metadata(((REQUEST_ID_METADATA, record.request_id),))
            self._ended(record, grpc.StatusCode.OK, None)
            return
        self._ended(record, CODES[failure.reason], failure)
        record.request = None
        _clear(failure)
        await end_with(context, failure, record.request_id)

    def cut_off(
        self,
        failure: GenirError,
        methods: Collection[str] | None = None,
        *,
        began_before: float = math.inf,
    ) -> int:
        """Ends calls in flight with `failure`; returns their number.

        Args:
            failure: the error that the callers get.
            methods: names of the methods whose calls end; None for all.
            began_before: time on the monotonic clock; calls that began later go on.
        """
        ended = 0
        for task, record in self._running.items():
            if record.began < began_before and (methods is None or record.method in methods):
                record.cut_off = failure
                task.cancel()
                ended += 1
        return ended

    def _failure_of(self, error: Exception, record: CallRecord, *, timed_out: bool) -> GenirError:
        if timed_out and isinstance(error, TimeoutError):
            return GenirError(
                Reason.DEADLINE_EXCEEDED,
                f"the call took longer than {self._default_deadline:g} s, the maximum for a call "
                "without a deadline of its own",
            )
        return failure_of(
            error,
            with_text=self._log_content,
            request_id=record.request_id,
            method=record.method,
        )

    def _abandoned(
        self,
        record: CallRecord,
        context: grpc.aio.ServicerContext[Any, Any],
        remaining: float | None,
    ) -> None:
        late = remaining is not None and context.time_remaining() == 0
        code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
        self._ended(record, code, None)

    def _ended(self, record: CallRecord, code: grpc.StatusCode, failure: GenirError | None) -> None:
        end = CallEnd(
            code.name,
            time.monotonic() - record.began,
            failure,
            call_facts(record, failure, with_text=self._log_content),
        )
        for observer in self._observers:
            try:
                observer.call_ended(record, end)
            except Exception:  # A failing observer must not fail the call.
                log.exception("an observer failed", request_id=record.request_id)


def _clear(error: BaseException | None) -> None:
    """Lets go of what the frames hold in which an error, and those that led to it, were raised.

    grpc.aio keeps the exception that ends a call, and through it these frames, in a reference
    cycle. Until garbage collection finds the cycle, it must not hold megabytes of a caller.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        following = error.__cause__ or error.__context__
        error.__cause__ = error.__context__ = error.__traceback__ = None
        error = following


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("gRPC runs handlers in tasks")
    return task


def _trace_context(context: grpc.aio.ServicerContext[Any, Any]) -> dict[str, str]:
    return {
        key: value
        for key, value in context.invocation_metadata() or ()
        if key in _TRACE_CONTEXT and isinstance(value, str)
    }
