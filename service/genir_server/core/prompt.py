"""From a request to the tokens the engine continues.

The schema in force is shown to the model in the system message. With AUTO it is shown whole when it
takes at most a quarter of the context and leaves room for the completion, else without its
descriptions, else not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.domain.limits import DEFAULT_MAX_TOKENS
from genir_server.domain.types import Message, PromptFormat, Role, SchemaInPrompt, SchemaShown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.domain.types import GenerationRequest, Violation
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema

DEFAULT_SYSTEM = (
    "You write intermediate representations for code generation tools. "
    "Answer with one JSON value and nothing else. Be precise and brief."
)
"""The system message of a request that brings none."""

_SCHEMA_HEADING = "The JSON value must satisfy this JSON Schema:"
_MAX_BYTES_PER_TOKEN = 16
_VIOLATIONS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids ready for the engine, the budget that goes with them, and what the model sees."""

    token_ids: Sequence[int]
    max_tokens: int
    schema_shown: SchemaShown
    messages: tuple[Message, ...] | None


async def build_prompt(
    request: GenerationRequest, schema: PreparedSchema, engine: Engine
) -> Prompt:
    """Renders a request's prompt and settles its completion budget.

    Raises:
        GenirError: PROMPT_TOO_LONG when prompt and budget do not fit the context; INVALID_FIELD
            when the model's chat template refuses the conversation.
    """
    context = engine.info.max_model_len
    _check_bytes(request, context, engine.info.longest_token_bytes)
    if request.prompt_format is PromptFormat.RAW:
        token_ids: Sequence[int] = await engine.tokenize(request.prompt or "")
        return Prompt(token_ids, _budget(request, len(token_ids), context), SchemaShown.NONE, None)
    # The last form is taken even where it does not fit: the budget then says what is wrong.
    prompt_forms = await _forms(request.schema_in_prompt, schema, engine)
    for shown, text in prompt_forms:
        messages = _messages(request, text)
        token_ids = await _render(messages, engine)
        if _leaves_room(request, len(token_ids), context) or shown is prompt_forms[-1][0]:
            return Prompt(token_ids, _budget(request, len(token_ids), context), shown, messages)
    raise AssertionError("there is always a last form")


async def build_retry_prompt(
    previous: Prompt, raw: str, violations: Sequence[Violation], engine: Engine
) -> Prompt:
    """The prompt of a further attempt: the model sees what it wrote and what is wrong with it.

    Gives `previous` unchanged where the longer prompt would not leave the same budget, where the
    model's chat template knows no longer conversations, and for a raw prompt.
    """
    if previous.messages is None or len(raw) > engine.info.max_model_len * _MAX_BYTES_PER_TOKEN:
        return previous
    faults = "\n".join(
        f"- at {violation.instance_pointer or 'the root'}: {violation.message}"
        for violation in violations[:_VIOLATIONS_SHOWN]
    )
    correction = (
        f"That answer is not valid:\n{faults}\nWrite the whole JSON value again, corrected."
        if faults
        else "That answer is not a complete JSON value. Write the whole JSON value again."
    )
    messages = (
        *previous.messages,
        Message(Role.ASSISTANT, raw or "{}"),
        Message(Role.USER, correction),
    )
    try:
        token_ids = await _render(messages, engine)
    except GenirError:
        return previous
    if len(token_ids) + previous.max_tokens > engine.info.max_model_len:
        return previous
    return Prompt(token_ids, previous.max_tokens, previous.schema_shown, previous.messages)


async def shown_by_size(schema: PreparedSchema, engine: Engine) -> SchemaShown:
    """How much of a schema a model is shown with AUTO where the prompt leaves room for it."""
    return (await _forms(SchemaInPrompt.AUTO, schema, engine))[0][0]


async def _forms(
    schema_in_prompt: SchemaInPrompt, schema: PreparedSchema, engine: Engine
) -> list[tuple[SchemaShown, str]]:
    """The forms in which the schema may be shown, the fullest first."""
    nothing = (SchemaShown.NONE, "")
    if schema_in_prompt is SchemaInPrompt.NEVER:
        return [nothing]
    whole = (SchemaShown.FULL, schema.shown_full)
    if schema_in_prompt is SchemaInPrompt.ALWAYS:
        return [whole]
    bare = (SchemaShown.WITHOUT_DESCRIPTIONS, schema.shown_without_descriptions)
    candidates = [whole] if bare[1] == whole[1] else [whole, bare]
    quarter = engine.info.max_model_len // 4
    small_enough = [
        form
        for form in candidates
        # A cheap bound first: tokenizing a megabyte only to discard it helps nobody.
        if len(form[1]) <= quarter * _MAX_BYTES_PER_TOKEN
        and await _tokens(form[1], schema, engine) <= quarter
    ]
    return [*small_enough, nothing]


async def _tokens(shown: str, schema: PreparedSchema, engine: Engine) -> int:
    """The tokens of a text that shows the schema, counted once."""
    if shown not in schema.shown_tokens:
        schema.shown_tokens[shown] = len(await engine.tokenize(shown))
    return schema.shown_tokens[shown]


def _messages(request: GenerationRequest, schema_text: str) -> tuple[Message, ...]:
    if request.conversation is not None:
        conversation = request.conversation
    else:
        conversation = (Message(Role.USER, request.prompt or ""),)
    if conversation[0].role is Role.SYSTEM:
        system, rest = conversation[0].content, conversation[1:]
    else:
        system = DEFAULT_SYSTEM if request.system is None else request.system
        rest = conversation
    if schema_text:
        system = f"{system}\n\n{_SCHEMA_HEADING}\n{schema_text}".lstrip()
    return (Message(Role.SYSTEM, system), *rest) if system else tuple(rest)


async def _render(messages: tuple[Message, ...], engine: Engine) -> Sequence[int]:
    try:
        return await engine.render_chat(messages)
    except ValueError as refusal:
        # Some templates know no system role: say the same in the first message of the user.
        if messages[0].role is not Role.SYSTEM or len(messages) == 1:
            raise _template_error(refusal) from refusal
    folded = Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}")
    try:
        return await engine.render_chat((folded, *messages[2:]))
    except ValueError as refusal:
        raise _template_error(refusal) from refusal


def _template_error(refusal: ValueError) -> GenirError:
    message = f"the model's chat template does not take this conversation: {refusal}"
    return GenirError(
        Reason.INVALID_FIELD,
        message,
        fields=(FieldViolation("spec.conversation", message),),
    )


def _check_bytes(request: GenerationRequest, context: int, longest_token_bytes: int) -> None:
    """Refuses what cannot fit however it is tokenized: tokenizing a megabyte holds others up."""
    if not longest_token_bytes:
        return
    texts = [request.prompt or "", *(message.content for message in request.conversation or ())]
    size = sum(len(text.encode()) for text in texts)
    at_least = -(-size // longest_token_bytes)
    if at_least > context:
        raise GenirError(
            Reason.PROMPT_TOO_LONG,
            f"the prompt has {size} bytes, which are {at_least} tokens or more, but the model's "
            f"context holds {context}: shorten the prompt",
            fields=(FieldViolation(_input_field(request), f"has {at_least} tokens or more"),),
            metadata={"prompt_tokens": str(at_least), "max_model_len": str(context)},
        )


def _input_field(request: GenerationRequest) -> str:
    return "spec.conversation" if request.conversation is not None else "spec.prompt"


def _leaves_room(request: GenerationRequest, prompt_tokens: int, context: int) -> bool:
    wanted = request.max_tokens or min(DEFAULT_MAX_TOKENS, context // 2)
    return prompt_tokens + wanted <= context


def _budget(request: GenerationRequest, prompt_tokens: int, context: int) -> int:
    room = context - prompt_tokens
    wanted = 1 if request.max_tokens is None else request.max_tokens
    if room < wanted:
        raise GenirError(
            Reason.PROMPT_TOO_LONG,
            f"the prompt has {prompt_tokens} tokens and the completion may take {wanted}, "
            f"but the model's context holds {context}: shorten the prompt or lower max_tokens",
            fields=(
                FieldViolation(
                    _input_field(request),
                    f"has {prompt_tokens} tokens with the schema shown; at most "
                    f"{max(context - wanted, 0)} fit beside max_tokens",
                ),
            ),
            metadata={
                "prompt_tokens": str(prompt_tokens),
                "max_tokens": str(wanted),
                "max_model_len": str(context),
            },
        )
    return min(DEFAULT_MAX_TOKENS, room) if request.max_tokens is None else request.max_tokens
