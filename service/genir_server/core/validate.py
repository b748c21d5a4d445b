"""Checks a request's values against their documented ranges. Pure, cheap, no engine needed.

Everything wrong with a request is reported at once, so that a caller fixes it in one go.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from genir_server.domain.digest import is_digest
from genir_server.domain.errors import FieldViolation, GenirError, Reason, invalid_field
from genir_server.domain.limits import MAX_TOKENS_PER_DELTA
from genir_server.domain.types import PromptFormat, Role, Sampling, SchemaInPrompt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from genir_server.domain.limits import RequestLimits
    from genir_server.domain.types import GenerationRequest, Message

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_SEED = 2**63 - 1
_MAX_TOKENS = 2**31 - 1


def is_request_id(text: str) -> bool:
    """Whether `text` is a request id that a caller may choose."""
    return _REQUEST_ID.fullmatch(text) is not None


def check_message_count(count: int, limits: RequestLimits) -> None:
    """Refuses a conversation of too many messages, before anyone looks at them.

    Raises:
        GenirError: INVALID_FIELD.
    """
    if count > limits.messages:
        raise invalid_field(
            "spec.conversation.messages", f"must hold at most {limits.messages}, not {count}"
        )


def check_schema_count(count: int, limits: RequestLimits) -> None:
    """Refuses a warm-up with too many schemas, before anyone looks at them.

    Raises:
        GenirError: INVALID_FIELD.
    """
    if count > limits.warmup_schemas:
        raise invalid_field(
            "json_schemas", f"must hold at most {limits.warmup_schemas}, not {count}"
        )


def validate_request(request: GenerationRequest, limits: RequestLimits) -> None:
    """Refuses a request with a missing, malformed or out-of-range field.

    Raises:
        GenirError: INVALID_FIELD with every field at fault; SCHEMA_TOO_COMPLEX for a schema text
            beyond its limit; PROMPT_TOO_LONG for an input beyond its limit in bytes.
    """
    violations = tuple(_violations(request, limits))
    if violations:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise GenirError(
            Reason.INVALID_FIELD, f"{first.field} {first.description}{more}", fields=violations
        )
    check_message_count(len(request.conversation or ()), limits)
    _check_input_size(request, limits)
    _check_schema_size(request.json_schema, limits, "spec.json_schema")


def validate_schema(
    json_schema: str | None,
    schema_digest: str | None,
    limits: RequestLimits,
    *,
    field: str = "json_schema",
) -> None:
    """Refuses a schema that is given by itself, as text in `field` or by its digest.

    Raises:
        GenirError: INVALID_FIELD, or SCHEMA_TOO_COMPLEX for a text beyond its limit.
    """
    for violation in _schema_violations(json_schema, schema_digest, field, "schema_digest"):
        raise invalid_field(violation.field, violation.description)
    _check_schema_size(json_schema, limits, field)


def check_sampling(sampling: Sampling, unsupported: Collection[str]) -> None:
    """Refuses a sampling parameter that this engine cannot honour, unless it is at its default.

    Args:
        sampling: what the caller asked for.
        unsupported: names of fields of `Sampling`.

    Raises:
        GenirError: INVALID_FIELD.
    """
    defaults = Sampling()
    violations = tuple(
        FieldViolation(
            f"spec.{name}",
            f"must be unset or {getattr(defaults, name):g}: "
            "this server's engine does not support it as it is set up",
        )
        for name in sorted(unsupported)
        if getattr(sampling, name) != getattr(defaults, name)
    )
    if violations:
        raise GenirError(
            Reason.INVALID_FIELD,
            f"{violations[0].field} {violations[0].description}",
            fields=violations,
        )


def _violations(request: GenerationRequest, limits: RequestLimits) -> Iterator[FieldViolation]:
    if not is_request_id(request.request_id):
        yield FieldViolation(
            "spec.request_id", "must be 1 to 128 letters, digits, '.', '_', ':' or '-'"
        )
    yield from _input_violations(request)
    yield from _sampling_violations(request.sampling)
    yield from _schema_violations(
        request.json_schema, request.schema_digest, "spec.json_schema", "spec.schema_digest"
    )
    if request.max_tokens is not None and not 1 <= request.max_tokens <= _MAX_TOKENS:
        yield FieldViolation("spec.max_tokens", f"must be 1 or more, not {request.max_tokens}")
    if abs(request.priority) > limits.priority:
        yield FieldViolation(
            "spec.priority",
            f"must be between -{limits.priority} and {limits.priority}, not {request.priority}",
        )
    if not 1 <= request.tokens_per_delta <= MAX_TOKENS_PER_DELTA:
        yield FieldViolation(
            "tokens_per_delta",
            f"must be between 1 and {MAX_TOKENS_PER_DELTA}, not {request.tokens_per_delta}",
        )
    if not 1 <= request.max_attempts <= limits.attempts:
        yield FieldViolation(
            "spec.max_attempts",
            f"must be between 1 and {limits.attempts}, not {request.max_attempts}",
        )


def _input_violations(
    request: GenerationRequest,
) -> Iterator[FieldViolation]:
    raw = request.prompt_format is PromptFormat.RAW
    if request.prompt is not None:
        if not request.prompt.strip():
            yield FieldViolation("spec.prompt", "must not be empty")
    elif request.conversation is not None:
        yield from _conversation_violations(request.conversation, request.system)
    else:
        yield FieldViolation("spec.prompt", "is required (or spec.conversation)")
    if raw and request.conversation is not None:
        yield FieldViolation(
            "spec.conversation", "cannot be used with PROMPT_FORMAT_RAW; send spec.prompt"
        )
    if raw and request.system is not None:
        yield FieldViolation("spec.system", "must be unset with PROMPT_FORMAT_RAW")
    if raw and request.schema_in_prompt is SchemaInPrompt.ALWAYS:
        yield FieldViolation(
            "spec.schema_in_prompt",
            "cannot be ALWAYS with PROMPT_FORMAT_RAW: a raw prompt is sent as it is",
        )


def _conversation_violations(
    messages: Sequence[Message], system: str | None
) -> Iterator[FieldViolation]:
    where = "spec.conversation.messages"
    if not messages:
        yield FieldViolation(where, "must hold at least one message")
        return
    for index, message in enumerate(messages):
        if not message.content.strip():
            yield FieldViolation(f"{where}[{index}].content", "must not be empty")
        if message.role is Role.SYSTEM and index > 0:
            yield FieldViolation(
                f"{where}[{index}].role", "must not be system except in the first message"
            )
    if messages[-1].role is not Role.USER:
        yield FieldViolation(f"{where}[{len(messages) - 1}].role", "must be user in the last one")
    if system is not None and messages[0].role is Role.SYSTEM:
        yield FieldViolation(
            "spec.system", "must be unset when the conversation has a system message"
        )


def _sampling_violations(sampling: Sampling) -> Iterator[FieldViolation]:
    ranges = (
        ("temperature", sampling.temperature, 0.0, 2.0, True),
        ("top_p", sampling.top_p, 0.0, 1.0, False),
        ("min_p", sampling.min_p, 0.0, 1.0, True),
        ("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0, True),
        ("presence_penalty", sampling.presence_penalty, -2.0, 2.0, True),
        # Far below, it is 0 as the engine's 32-bit number, and tokens outside the grammar come out.
        ("repetition_penalty", sampling.repetition_penalty, 0.01, 2.0, True),
    )
    for name, value, low, high, low_included in ranges:
        inside = math.isfinite(value) and low <= value <= high and (low_included or value > low)
        if not inside:
            span = (
                f"between {low:g} and {high:g}" if low_included else f"above 0 and up to {high:g}"
            )
            yield FieldViolation(f"spec.{name}", f"must be {span}, not {value:g}")
    if sampling.top_k < 0:
        yield FieldViolation("spec.top_k", f"must be 0 (all) or more, not {sampling.top_k}")
    if sampling.seed is not None and not 0 <= sampling.seed <= _MAX_SEED:
        yield FieldViolation("spec.seed", f"must be 0 or more, not {sampling.seed}")


def _check_input_size(request: GenerationRequest, limits: RequestLimits) -> None:
    texts = [request.prompt or "", request.system or ""]
    texts += [message.content for message in request.conversation or ()]
    size = sum(len(text.encode()) for text in texts)
    if size > limits.input_bytes:
        field = "spec.prompt" if request.prompt is not None else "spec.conversation"
        raise GenirError(
            Reason.PROMPT_TOO_LONG,
            f"the input has {size} bytes; this server takes at most {limits.input_bytes}",
            fields=(FieldViolation(field, f"must have at most {limits.input_bytes} bytes"),),
            metadata={"limit": "input_bytes", "max": str(limits.input_bytes), "value": str(size)},
        )


def _schema_violations(
    json_schema: str | None, schema_digest: str | None, text_field: str, digest_field: str
) -> Iterator[FieldViolation]:
    if schema_digest is not None and not is_digest(schema_digest):
        yield FieldViolation(digest_field, "must be 'sha256:' and 64 lower-case hex digits")
    if json_schema is not None and not json_schema.strip():
        yield FieldViolation(
            text_field, "must not be empty; leave it unset for the built-in IR schema"
        )


def _check_schema_size(json_schema: str | None, limits: RequestLimits, field: str) -> None:
    size = len((json_schema or "").encode())
    if size > limits.schema_bytes:
        raise GenirError(
            Reason.SCHEMA_TOO_COMPLEX,
            f"the schema has {size} bytes; this server takes at most {limits.schema_bytes}",
            fields=(FieldViolation(field, f"must have at most {limits.schema_bytes} bytes"),),
            metadata={
                "pointer": "",
                "limit": "schema_bytes",
                "max": str(limits.schema_bytes),
                "value": str(size),
            },
        )
