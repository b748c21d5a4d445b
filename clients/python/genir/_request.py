"""Builds request messages from the arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from genir._schema import schema_text
from genir.types import Message, OnBudget, PromptFormat, Role, SchemaInPrompt
from genir.v1 import generation_pb2, ir_service_pb2

if TYPE_CHECKING:
    from genir._schema import ListedSchema, SchemaArgument

Prompt = str | Sequence[Message | Mapping[str, str]]
"""One user message, or a conversation of `Message`s or mappings with the keys role and content."""


class GenerationOptions(TypedDict, total=False):
    """Options of a generation. An option that is None or missing has the server's default.

    Ranges and defaults are those of `genir.v1.GenerationSpec`; the server checks them.

    Attributes:
        system: the system message; "" for none. Default: the server's own.
        model: name of the model. Default: the served model.
        schema_in_prompt: whether to show the schema to the model: "auto", "always" or "never".
            Default "auto".
        temperature: 0 to 2; 0 takes the most likely token. Default 0.3.
        top_p: share of the probability mass to sample from, above 0 up to 1. Default 0.95.
        top_k: number of most likely tokens to sample from; 0 is all. Default 0.
        min_p: minimum probability relative to the most likely token, 0 to 1. Default 0.
        seed: seed of the sampler, 0 and up. Default: random for each call.
        frequency_penalty: -2 to 2. Default 0.
        presence_penalty: -2 to 2. Default 0.
        repetition_penalty: 0.01 to 2. Default 1.
        max_tokens: maximum number of tokens of one attempt. Default 2048, or what fits.
        priority: -1000 to 1000; lower numbers run first, among the caller's own calls unless it has
            the permission to rank them among all. Default 0.
        max_attempts: maximum number of attempts at a valid IR, 1 to 5. A further attempt follows a
            value that is not valid, and with ``on_budget="fail"`` a text cut off at a `max_tokens`
            of 128 or more; the next one then has to be compact. Default 2.
        on_budget: what to do when `max_tokens` does not suffice: "close" ends the value early,
            "fail" fails with `TruncatedError`. Default "close".
        lora_adapter: name of a LoRA adapter of the server. Default: none.
        prompt_format: "chat" applies the model's chat template, "raw" sends the prompt as it is.
            Default "chat".
        request_id: the request's id in logs and errors. Default: the server makes one.

    """

    system: str | None
    model: str | None
    schema_in_prompt: SchemaInPrompt | Literal["auto", "always", "never"] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    max_tokens: int | None
    priority: int | None
    max_attempts: int | None
    on_budget: OnBudget | Literal["close", "fail"] | None
    lora_adapter: str | None
    prompt_format: PromptFormat | Literal["chat", "raw"] | None
    request_id: str | None


_SCHEMA_IN_PROMPT = {
    SchemaInPrompt.AUTO: generation_pb2.SCHEMA_IN_PROMPT_AUTO,
    SchemaInPrompt.ALWAYS: generation_pb2.SCHEMA_IN_PROMPT_ALWAYS,
    SchemaInPrompt.NEVER: generation_pb2.SCHEMA_IN_PROMPT_NEVER,
}
_PROMPT_FORMAT = {
    PromptFormat.CHAT: generation_pb2.PROMPT_FORMAT_CHAT,
    PromptFormat.RAW: generation_pb2.PROMPT_FORMAT_RAW,
}
_ON_BUDGET = {
    OnBudget.CLOSE: generation_pb2.ON_BUDGET_CLOSE,
    OnBudget.FAIL: generation_pb2.ON_BUDGET_FAIL,
}
_ROLE = {
    Role.SYSTEM: generation_pb2.ROLE_SYSTEM,
    Role.USER: generation_pb2.ROLE_USER,
    Role.ASSISTANT: generation_pb2.ROLE_ASSISTANT,
}


def generation_spec(
    prompt: Prompt, schema: SchemaArgument[Any], options: GenerationOptions
) -> generation_pb2.GenerationSpec:
    """The message of a generate call.

    Raises:
        TypeError: an option is unknown or of the wrong type.
        ValueError: the message cannot hold a value, or a value is not a member of its enumeration.

    """
    spec = generation_pb2.GenerationSpec()
    if isinstance(prompt, str):
        _set(spec, "prompt", prompt)
    else:
        spec.conversation.messages.extend(_message(message) for message in prompt)
    if schema.json_schema is not None:
        _set(spec, "json_schema", schema.json_schema)
    if schema.schema_digest is not None:
        _set(spec, "schema_digest", schema.schema_digest)
    for name, value in options.items():
        if name not in GenerationOptions.__annotations__:
            known = ", ".join(GenerationOptions.__annotations__)
            msg = f"unknown option {name!r}; the options are {known}"
            raise TypeError(msg)
        if value is not None:
            _set(spec, name, value)
    return spec


def check_schema_request(
    schema: SchemaArgument[Any], *, include_engine_schema: bool
) -> ir_service_pb2.CheckSchemaRequest:
    """The message of a check of a schema.

    Raises:
        ValueError: the message cannot hold the text.

    """
    request = ir_service_pb2.CheckSchemaRequest(include_engine_schema=include_engine_schema)
    if schema.json_schema is not None:
        request.json_schema = schema.json_schema
    if schema.schema_digest is not None:
        request.schema_digest = schema.schema_digest
    return request


def warmup_request(schemas: Sequence[ListedSchema], *, force: bool) -> ir_service_pb2.WarmupRequest:
    """The message of a warm-up.

    Raises:
        TypeError: a schema is None or of another type.
        ValueError: the message cannot hold a schema.
        OSError: a schema file cannot be read.

    """
    texts = [schema_text(schema) for schema in schemas]
    return ir_service_pb2.WarmupRequest(force=force, json_schemas=texts)


def _set(spec: generation_pb2.GenerationSpec, name: str, value: object) -> None:
    try:
        if name == "schema_in_prompt":
            value = _SCHEMA_IN_PROMPT[SchemaInPrompt(str(value))]
        elif name == "prompt_format":
            value = _PROMPT_FORMAT[PromptFormat(str(value))]
        elif name == "on_budget":
            value = _ON_BUDGET[OnBudget(str(value))]
        setattr(spec, name, value)
    except TypeError as error:
        msg = f"{name}: {error}"
        raise TypeError(msg) from error
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from error


def _message(message: Message | Mapping[str, str]) -> generation_pb2.Message:
    if isinstance(message, Mapping):
        unknown = message.keys() - {"role", "content"}
        if unknown or len(message) != 2:  # noqa: PLR2004 - the two keys of a message
            msg = f"a message must have the keys role and content, not {sorted(message)}"
            raise ValueError(msg)
        message = Message(message["role"], message["content"])
    return generation_pb2.Message(role=_ROLE[Role(message.role)], content=message.content)
