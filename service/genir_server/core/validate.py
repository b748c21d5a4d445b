"""Step 1, validate: checks a request against its documented ranges. Pure and cheap.

`validate_request` reports every field at fault at once, so that a caller fixes them in one go.
`is_request_id`, `check_message_count` and `check_schema_count` are for the transport: it calls them
before it converts a message, and they are not repeated here.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING

from genir_server.domain.digest import is_digest
from genir_server.domain.errors import FieldViolation, GenirError, Reason, invalid_field
from genir_server.domain.limits import MAX_TOKENS_PER_DELTA
from genir_server.domain.types import PromptFormat, Role, Sampling, SchemaInPrompt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from genir_server.domain.limits import RequestLimits
    from genir_server.domain.types import GenerationRequest, Message, Range
    from genir_server.engine.protocol import EngineInfo

REQUEST_ID_RULE = "must be 1 to 128 letters, digits, '.', '_', ':' or '-'"
"""What `is_request_id` demands, as the description of a field violation."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_TOKENS = 2**31 - 1


def is_request_id(text: str) -> bool:
    """Whether a caller may choose `text` as a request id."""
    return _REQUEST_ID.fullmatch(text) is not None


def check_message_count(count: int, limits: RequestLimits) -> None:
    """Refuses a conversation of too many messages.

    Raises:
        GenirError: INVALID_FIELD.
    """
    if count > limits.max_messages:
        raise invalid_field(
            "spec.conversation.messages", f"must hold at most {limits.max_messages}, not {count}"
        )


def check_schema_count(count: int, limits: RequestLimits) -> None:
    """Refuses a warm-up with too many schemas.

    Raises:
        GenirError: INVALID_FIELD.
    """
    if count > limits.max_warmup_schemas:
        raise invalid_field(
            "json_schemas", f"must hold at most {limits.max_warmup_schemas}, not {count}"
        )


def validate_request(request: GenerationRequest, limits: RequestLimits, engine: EngineInfo) -> None:
    """Refuses a request that cannot be served, as far as its fields alone show it.

    Raises:
        GenirError: INVALID_FIELD with every field at fault; PROMPT_TOO_LONG for an input beyond its
            limit in bytes or certain not to fit the context; MODEL_NOT_FOUND;
            LORA_ADAPTER_NOT_FOUND.
    """
    violations = tuple(_violations(request, limits, engine.unsupported_sampling))
    if violations:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise GenirError(
            Reason.INVALID_FIELD, f"{first.field} {first.description}{more}", fields=violations
        )
    _check_input_size(request, limits, engine)
    _check_model(request, engine)


def validate_schema(
    json_schema: str | None, schema_digest: str | None, *, field: str = "json_schema"
) -> None:
    """Refuses a malformed schema argument of a call that generates nothing.

    Args:
        json_schema: the text of the schema, if the caller sent one.
        schema_digest: its digest, if the caller sent that instead.
        field: the name of the text's field in errors.

    Raises:
        GenirError: INVALID_FIELD.
    """
    for violation in _schema_violations(json_schema, schema_digest, field, "schema_digest"):
        raise invalid_field(violation.field, violation.description)


def input_field(request: GenerationRequest) -> str:
    """The name of the field that holds the request's input."""
    return "spec.conversation" if request.conversation is not None else "spec.prompt"


def _violations(
    request: GenerationRequest, limits: RequestLimits, unsupported_sampling: Collection[str]
) -> Iterator[FieldViolation]:
    yield from _input_violations(request)
    yield from _sampling_violations(request.sampling, unsupported_sampling)
    yield from _schema_violations(
        request.json_schema, request.schema_digest, "spec.json_schema", "spec.schema_digest"
    )
    if request.max_tokens is not None and not 1 <= request.max_tokens <= _MAX_TOKENS:
        yield FieldViolation("spec.max_tokens", f"must be 1 or more, not {request.max_tokens}")
    if abs(request.priority) > limits.max_priority:
        yield FieldViolation(
            "spec.priority",
            f"must be between -{limits.max_priority} and {limits.max_priority}, "
            f"not {request.priority}",
        )
    if not 1 <= request.tokens_per_delta <= MAX_TOKENS_PER_DELTA:
        yield FieldViolation(
            "tokens_per_delta",
            f"must be between 1 and {MAX_TOKENS_PER_DELTA}, not {request.tokens_per_delta}",
        )
    if not 1 <= request.max_attempts <= limits.max_attempts:
        yield FieldViolation(
            "spec.max_attempts",
            f"must be between 1 and {limits.max_attempts}, not {request.max_attempts}",
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


def _sampling_violations(
    sampling: Sampling, unsupported: Collection[str]
) -> Iterator[FieldViolation]:
    for parameter in fields(sampling):
        value, default = getattr(sampling, parameter.name), parameter.default
        allowed: Range = parameter.metadata["range"]
        if value is not None and value not in allowed:
            yield FieldViolation(f"spec.{parameter.name}", f"must be {allowed}, not {value:.12g}")
        elif parameter.name in unsupported and value != default:
            yield FieldViolation(
                f"spec.{parameter.name}",
                f"must be unset or {default:g}: this server's engine does not support it as it is "
                "set up",
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


def _check_input_size(
    request: GenerationRequest, limits: RequestLimits, engine: EngineInfo
) -> None:
    texts = [request.prompt or "", *(message.content for message in request.conversation or ())]
    text_bytes = sum(len(text.encode()) for text in texts)
    size = text_bytes + len((request.system or "").encode())
    if size > limits.max_input_bytes:
        raise GenirError(
            Reason.PROMPT_TOO_LONG,
            f"the input has {size} bytes; this server accepts at most {limits.max_input_bytes}",
            fields=(
                FieldViolation(
                    input_field(request), f"must have at most {limits.max_input_bytes} bytes"
                ),
            ),
            metadata={
                "limit": "input_bytes",
                "max": str(limits.max_input_bytes),
                "value": str(size),
            },
        )
    if not engine.max_token_bytes:
        return
    # Tokenizing a megabyte delays other calls, so a prompt that cannot fit is refused before.
    min_tokens = -(-text_bytes // engine.max_token_bytes)
    if min_tokens > engine.max_model_len:
        raise GenirError(
            Reason.PROMPT_TOO_LONG,
            f"the prompt has {text_bytes} bytes, which are {min_tokens} tokens or more, but the "
            f"model's context holds {engine.max_model_len}: shorten the prompt",
            fields=(FieldViolation(input_field(request), f"has {min_tokens} tokens or more"),),
            metadata={
                "prompt_tokens": str(min_tokens),
                "max_model_len": str(engine.max_model_len),
            },
        )


def _check_model(request: GenerationRequest, engine: EngineInfo) -> None:
    if request.model not in ("", engine.model):
        raise GenirError(
            Reason.MODEL_NOT_FOUND,
            f"the model is not served here; served: {engine.model}",
            fields=(FieldViolation("spec.model", f"must be empty or {engine.model}"),),
            metadata={"served": engine.model},
        )
    if request.lora_adapter and request.lora_adapter not in engine.lora_adapters:
        loaded = ", ".join(engine.lora_adapters) or "none"
        raise GenirError(
            Reason.LORA_ADAPTER_NOT_FOUND,
            f"the LoRA adapter is not loaded here; loaded: {loaded}",
            fields=(FieldViolation("spec.lora_adapter", f"must be one of: {loaded}"),),
            metadata={"loaded": loaded},
        )
