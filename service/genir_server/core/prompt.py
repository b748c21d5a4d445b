"""Step 2, prompt: from a request to the tokens that the engine continues.

The schema in force is shown to the model in the system message. AUTO shows it in full if it takes
at most a quarter of the context and leaves room for the completion, else without its descriptions,
else not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.core.validate import input_field
from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.domain.limits import DEFAULT_MAX_TOKENS
from genir_server.domain.types import Message, PromptFormat, Role, SchemaInPrompt, SchemaShown
from genir_server.engine.protocol import SpecialTokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.domain.types import GenerationRequest, Violation
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema

DEFAULT_SYSTEM = (
    "You write intermediate representations for code generation tools. "
    "Answer with one JSON value and nothing else. Be precise and brief."
)
"""The system message of a request that has none."""

_SCHEMA_HEADING = "The JSON value must satisfy this JSON Schema:"
_MAX_BYTES_PER_TOKEN = 16
_VIOLATIONS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an attempt starts from.

    Attributes:
        token_ids: what the engine continues.
        max_tokens: tokens that one attempt may write.
        schema_shown: how much of the schema is in it.
        messages: the conversation that was rendered; None for a raw prompt.
    """

    token_ids: Sequence[int]
    max_tokens: int
    schema_shown: SchemaShown
    messages: tuple[Message, ...] | None


async def build_prompt(
    request: GenerationRequest, schema: PreparedSchema, engine: Engine
) -> Prompt:
    """Renders a request's prompt and settles its completion budget.

    Raises:
        GenirError: PROMPT_TOO_LONG when prompt and budget do not fit the context; BUDGET_TOO_SMALL
            when no value that satisfies the schema fits the budget; INVALID_FIELD when the model's
            chat template refuses the conversation, or its tokenizer cannot read a text.
    """
    context = engine.info.max_model_len
    messages: tuple[Message, ...] | None = None
    try:
        if request.prompt_format is PromptFormat.RAW:
            shown = SchemaShown.NONE
            token_ids: Sequence[int] = await engine.tokenize(request.prompt or "")
        else:
            wanted = request.max_tokens or min(DEFAULT_MAX_TOKENS, context // 2)
            # If no form leaves room, the last one is kept: `_budget` then says what is wrong.
            for form in await _forms(request.schema_in_prompt, schema, engine):
                shown, schema_text = form
                messages = _messages(request, schema_text)
                token_ids = await _render(messages, engine)
                if len(token_ids) + wanted <= context:
                    break
    except SpecialTokenError as error:
        raise GenirError(
            Reason.INVALID_FIELD,
            f"{error}, in the input and in the schema that the model is shown",
            fields=(FieldViolation(input_field(request), str(error)),),
        ) from error
    return Prompt(token_ids, _budget(request, schema, len(token_ids), context), shown, messages)


async def build_retry_prompt(
    previous: Prompt, raw: str, violations: Sequence[Violation], engine: Engine
) -> Prompt:
    """The prompt of a further attempt: the model sees what it wrote and what is wrong with it.

    Returns `previous` unchanged for a raw prompt, if the longer prompt would not leave the same
    budget, and if the model's chat template or tokenizer refuses the longer conversation.
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
    except (GenirError, SpecialTokenError):
        return previous
    if len(token_ids) + previous.max_tokens > engine.info.max_model_len:
        return previous
    return Prompt(token_ids, previous.max_tokens, previous.schema_shown, previous.messages)


async def shown_by_size(schema: PreparedSchema, engine: Engine) -> SchemaShown:
    """How much of a schema AUTO shows to a model beside a short prompt."""
    return (await _forms(SchemaInPrompt.AUTO, schema, engine))[0][0]


async def _forms(
    schema_in_prompt: SchemaInPrompt, schema: PreparedSchema, engine: Engine
) -> list[tuple[SchemaShown, str]]:
    """The forms in which the schema may be shown, the most complete first."""
    none = (SchemaShown.NONE, "")
    if schema_in_prompt is SchemaInPrompt.NEVER:
        return [none]
    full = (SchemaShown.FULL, schema.shown_full)
    if schema_in_prompt is SchemaInPrompt.ALWAYS:
        return [full]
    bare = (SchemaShown.WITHOUT_DESCRIPTIONS, schema.shown_without_descriptions)
    candidates = [full] if bare[1] == full[1] else [full, bare]
    quarter = engine.info.max_model_len // 4
    small_enough = [
        form
        for form in candidates
        # The cheap bound comes first: it saves tokenizing a megabyte only to discard it.
        if len(form[1]) <= quarter * _MAX_BYTES_PER_TOKEN
        and await _takes_at_most(quarter, form[1], schema, engine)
    ]
    return [*small_enough, none]


async def _takes_at_most(
    max_tokens: int, shown: str, schema: PreparedSchema, engine: Engine
) -> bool:
    """Whether a text that shows the schema has so few tokens, which are counted once."""
    if shown not in schema.shown_tokens:
        try:
            schema.shown_tokens[shown] = len(await engine.tokenize(shown))
        except SpecialTokenError:
            return False
    return schema.shown_tokens[shown] <= max_tokens


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
        # Some templates have no system role: put its text before the user's first message.
        if messages[0].role is not Role.SYSTEM or len(messages) == 1:
            raise _template_error(refusal) from refusal
    folded = Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}")
    try:
        return await engine.render_chat((folded, *messages[2:]))
    except ValueError as refusal:
        raise _template_error(refusal) from refusal


def _template_error(refusal: ValueError) -> GenirError:
    message = f"the model's chat template refuses this conversation: {refusal}"
    return GenirError(
        Reason.INVALID_FIELD,
        message,
        fields=(FieldViolation("spec.conversation", message),),
    )


def _budget(
    request: GenerationRequest, schema: PreparedSchema, prompt_tokens: int, context: int
) -> int:
    """The tokens that one attempt may write."""
    given = request.max_tokens
    room = context - prompt_tokens
    if room < (1 if given is None else given):
        raise _too_long(request, prompt_tokens, context)
    budget = min(DEFAULT_MAX_TOKENS, room) if given is None else given
    if budget < schema.min_tokens:
        raise _too_small(request, schema.min_tokens, budget, room)
    return budget


def _too_long(request: GenerationRequest, prompt_tokens: int, context: int) -> GenirError:
    given = request.max_tokens
    metadata = {"prompt_tokens": str(prompt_tokens), "max_model_len": str(context)}
    facts = f"the prompt has {prompt_tokens} tokens and "
    room = f"the model's context holds {context}"
    if given is None:
        message = f"{facts}{room}, which leaves none for a completion: shorten the prompt"
        beside = "one token of a completion"
    else:
        metadata["max_tokens"] = str(given)
        message = (
            f"{facts}the completion may take {given}, but {room}: shorten the prompt or lower "
            "max_tokens"
        )
        beside = "max_tokens"
    most = max(context - (given or 1), 0)
    return GenirError(
        Reason.PROMPT_TOO_LONG,
        message,
        fields=(
            FieldViolation(
                input_field(request),
                f"has {prompt_tokens} tokens with the schema shown; at most {most} fit beside "
                f"{beside}",
            ),
        ),
        metadata=metadata,
    )


def _too_small(request: GenerationRequest, min_tokens: int, budget: int, room: int) -> GenirError:
    message = (
        f"no value that satisfies the schema fits in {budget} tokens; the smallest takes at least "
        f"{min_tokens}: "
    )
    field = FieldViolation("spec.max_tokens", f"must be {min_tokens} or more")
    if room >= min_tokens:
        message += f"set max_tokens to {min_tokens} or more"
    elif request.max_tokens is not None:
        message += "raise max_tokens and shorten the prompt"
    else:
        message += "shorten the prompt"
        field = FieldViolation(input_field(request), f"leaves {room} tokens of the model's context")
    return GenirError(
        Reason.BUDGET_TOO_SMALL,
        message,
        fields=(field,),
        metadata={"max_tokens": str(budget), "min_tokens": str(min_tokens)},
    )
