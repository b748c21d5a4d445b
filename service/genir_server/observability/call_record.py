"""What is known of a call while it runs, and who is told how it ended.

Any transport fills in a `CallRecord`; the log, metrics and traces stand beside and observe it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypedDict

from genir_server.domain.caller import ANYONE, Caller
from genir_server.domain.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.domain.errors import GenirError

_QUOTING = frozenset(
    {
        Reason.INVALID_FIELD,
        Reason.SCHEMA_INVALID,
        Reason.SCHEMA_UNSUPPORTED,
        Reason.SCHEMA_TOO_COMPLEX,
    }
)
"""Reasons whose messages may quote what the caller sent."""

_FIELDS_TOLD = 8


class CallFacts(TypedDict, total=False):
    """What may be known of a call beside its method, id, code and duration.

    These are fields of its log line (see docs/operations.md); a fact that is not known is left out.
    Only `input`, `output` and `detail` hold text that a caller wrote or that quotes it.
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
    """When a call got how far, on the monotonic clock; None for a point that it did not reach.

    `admitted` is when it was let in, `queued` when its prompt was made and it began to wait for its
    turn, `accepted` when it had its turn, `first_token` when the engine had written something.
    """

    admitted: float | None = None
    queued: float | None = None
    accepted: float | None = None
    first_token: float | None = None


@dataclass(slots=True)
class CallRecord:
    """What is known of a call while it runs.

    `began` and `deadline`, when it must be done, are on the monotonic clock. `caller` is who made
    the call. `completion_tokens` counts what was written so far, for calls that do not come to
    their end. `cut_off` is what the server ends the call with before its time, where it does.
    """

    method: str
    request_id: str
    deadline: float
    caller: Caller = ANYONE
    began: float = field(default_factory=time.monotonic)
    facts: CallFacts = field(default_factory=CallFacts)
    marks: CallMarks = field(default_factory=CallMarks)
    completion_tokens: int = 0
    cut_off: GenirError | None = None


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended.

    `code` is the name of the status, such as "OK"; `seconds` the time since its record was made;
    `failure` what it was answered with, None for a result and for a caller that went away.
    """

    code: str
    seconds: float
    failure: GenirError | None = None

    @property
    def outcome(self) -> str:
        """What became of it: valid, cancelled, or the reason in lower case. Fit for a label."""
        if self.failure is not None:
            return self.failure.reason.value.lower()
        return "valid" if self.code == "OK" else self.code.lower()


def failure_facts(failure: GenirError, *, with_text: bool) -> CallFacts:
    """What is known of a call that failed.

    Its message is left out where it may quote what the caller sent, unless `with_text`.
    """
    facts: CallFacts = {"reason": failure.reason.value}
    if with_text or failure.reason not in _QUOTING:
        facts["detail"] = failure.message
    if failure.fields:
        facts["fields"] = [each.field for each in failure.fields[:_FIELDS_TOLD]]
    if failure.failure is not None:
        facts["finish_reason"] = failure.failure.finish_reason
        facts["attempts"] = len(failure.failure.attempts)
        facts["completion_tokens"] = failure.failure.usage.completion_tokens
    return facts


class CallObserver(Protocol):
    """Is told of every call. Must be quick, and must not raise."""

    def call_began(self, record: CallRecord, trace_context: Mapping[str, str]) -> None:
        """A call came in; nothing is decoded yet.

        `trace_context` holds the caller's W3C Trace Context where it sent one: "traceparent" and
        "tracestate".
        """

    def call_ended(self, record: CallRecord, end: CallEnd) -> None:
        """A call is over, and its record complete."""
