"""The record of one call, and the interface of its observers.

The transport fills in a `CallRecord`. Log, metrics and traces observe it, so another transport gets
them by notifying the same observers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypedDict

from genir_server.domain.caller import ANYONE, Caller
from genir_server.domain.errors import Reason
from genir_server.domain.types import Accepted, Completed, TextDelta

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.domain.errors import GenirError
    from genir_server.domain.types import Attempt, GenerationEvent, GenerationRequest

_QUOTING = frozenset(
    {
        Reason.INVALID_FIELD,
        Reason.SCHEMA_INVALID,
        Reason.SCHEMA_UNSUPPORTED,
        Reason.SCHEMA_TOO_COMPLEX,
    }
)
"""Error reasons whose messages may quote the request."""

_MAX_LOGGED_FIELDS = 8


class CallFacts(TypedDict, total=False):
    """Further fields of a call's log line; docs/operations.md describes them.

    An unknown fact is left out. Only `input`, `output` and `detail` may contain or quote text of a
    caller.
    """

    trace_id: str
    caller: str
    model: str
    backend: str
    schema_digest: str
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    attempts: int
    resumptions: int
    closed_early: int
    schema_seconds: float
    queue_seconds: float
    ttft_seconds: float
    finish_reason: str | None
    reason: str
    detail: str
    fields: list[str]
    cached: bool
    already_warm: bool
    canary_failure: str
    input: str
    output: str


@dataclass(slots=True)
class CallMarks:
    """The times at which a call reached its stages, on the monotonic clock; None if not reached.

    Attributes:
        admitted: when it was counted as in flight.
        queued: when its prompt was rendered and it joined the queue before the engine.
        accepted: when the engine had room for it.
        first_token: when the first token arrived.
    """

    admitted: float | None = None
    queued: float | None = None
    accepted: float | None = None
    first_token: float | None = None


@dataclass(slots=True)
class CallRecord:
    """The state of a call while it runs. Times are on the monotonic clock.

    Attributes:
        method: the name of the method.
        request_id: the caller's request id; made by the server if the caller sent none.
        deadline: when the call must be done.
        caller: who made the call.
        began: when the call arrived.
        facts: fields of the log line that are not known from an event.
        marks: the times at which the call reached its stages.
        request: the request of a call that generates.
        accepted: the event that the generation began with.
        completed: the event that the generation ended with.
        completion_tokens: tokens written so far, for calls that do not complete.
        cut_off: the error with which the server ends the call early.
    """

    method: str
    request_id: str
    deadline: float
    caller: Caller = ANYONE
    began: float = field(default_factory=time.monotonic)
    facts: CallFacts = field(default_factory=CallFacts)
    marks: CallMarks = field(default_factory=CallMarks)
    request: GenerationRequest | None = None
    accepted: Accepted | None = None
    completed: Completed | None = None
    completion_tokens: int = 0
    cut_off: GenirError | None = None

    def note(self, event: GenerationEvent) -> None:
        """Records an event of the generation that the call runs."""
        match event:
            case TextDelta():
                self.completion_tokens += event.token_count
                if self.marks.first_token is None:
                    self.marks.first_token = time.monotonic()
            case Accepted():
                self.accepted = event
                self.marks.accepted = time.monotonic()
                self.marks.queued = self.marks.accepted - event.admission_seconds
            case Completed():
                self.completed = event


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended.

    Attributes:
        code: the name of the status, such as "OK".
        seconds: how long the call took.
        failure: the error that the caller got; None for a result and for a caller that went away.
        facts: the further fields of the log line; see `call_facts`.
    """

    code: str
    seconds: float
    failure: GenirError | None = None
    facts: CallFacts = field(default_factory=CallFacts)

    @property
    def outcome(self) -> str:
        """The outcome as a metric label: valid, cancelled, or the reason in lower case."""
        if self.failure is not None:
            return self.failure.reason.value.lower()
        return "valid" if self.code == "OK" else self.code.lower()


def call_facts(record: CallRecord, failure: GenirError | None, *, with_text: bool) -> CallFacts:
    """Returns the fields of a call's log line beside method, request id, code and duration.

    Args:
        record: the record of the call, which has ended.
        failure: the error that the caller got, if any.
        with_text: whether to include text that the caller sent or the model wrote.
    """
    facts: CallFacts = {**record.facts}
    accepted, completed = record.accepted, record.completed
    if accepted is not None:
        facts["model"] = accepted.model
        facts["schema_digest"] = accepted.schema_digest
        facts["prompt_tokens"] = accepted.prompt_tokens
        facts["schema_seconds"] = round(accepted.schema_seconds, 4)
        if with_text and record.request is not None:
            facts["input"] = _input_text(record.request)
    if completed is not None:
        facts["backend"] = completed.structured_output_backend
        facts["attempts"] = len(completed.attempts)
        facts["resumptions"] = _resumptions(completed.attempts)
        facts["closed_early"] = len(completed.closed_early)
        facts["finish_reason"] = completed.finish_reason
        facts["completion_tokens"] = completed.usage.completion_tokens
        facts["cached_prompt_tokens"] = completed.usage.cached_prompt_tokens
        facts["queue_seconds"] = round(completed.timings.queue, 4)
        facts["ttft_seconds"] = round(completed.timings.time_to_first_token, 4)
        if with_text:
            facts["output"] = completed.ir_json
    elif record.completion_tokens:
        facts["completion_tokens"] = record.completion_tokens
    if failure is not None:
        facts.update(_failure_facts(failure, with_text=with_text))
    return facts


def _resumptions(attempts: tuple[Attempt, ...]) -> int:
    return sum(len(attempt.resumptions) for attempt in attempts)


def _input_text(request: GenerationRequest) -> str:
    messages = request.conversation or ()
    return request.prompt or "\n".join(f"{each.role}: {each.content}" for each in messages)


def _failure_facts(failure: GenirError, *, with_text: bool) -> CallFacts:
    facts: CallFacts = {"reason": failure.reason.value}
    if with_text or failure.reason not in _QUOTING:
        facts["detail"] = failure.message
    if failure.fields:
        facts["fields"] = [each.field for each in failure.fields[:_MAX_LOGGED_FIELDS]]
    if failure.failure is not None:
        facts["finish_reason"] = failure.failure.finish_reason
        facts["attempts"] = len(failure.failure.attempts)
        facts["resumptions"] = _resumptions(failure.failure.attempts)
        facts["completion_tokens"] = failure.failure.usage.completion_tokens
    return facts


class CallObserver(Protocol):
    """Is notified of every call. Must be fast, and must not raise."""

    def call_began(self, record: CallRecord, trace_context: Mapping[str, str]) -> None:
        """Called when a call arrives, before its request is decoded.

        Args:
            record: the record of the call.
            trace_context: the caller's W3C Trace Context, "traceparent" and "tracestate", if any.
        """

    def call_ended(self, record: CallRecord, end: CallEnd) -> None:
        """Called when a call has ended and its record is complete."""
