from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genir_server.core.prompt import (
    DEFAULT_SYSTEM,
    build_prompt,
    build_retry_prompt,
    shown_by_size,
)
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import (
    GenerationRequest,
    Message,
    PromptFormat,
    Role,
    SchemaInPrompt,
    SchemaShown,
)
from genir_server.engine.protocol import SpecialTokenError
from tests.support.scripted_engine import ScriptedEngine, prepared

if TYPE_CHECKING:
    from collections.abc import Sequence


def request(**changes: Any) -> GenerationRequest:
    return GenerationRequest(**{"request_id": "r-1", "prompt": "hi", **changes})


async def test_small_schema_is_shown_in_full_in_the_system_message() -> None:
    engine = ScriptedEngine()
    prompt = await build_prompt(request(), prepared(), engine)
    assert prompt.schema_shown is SchemaShown.FULL
    system, user = engine.chats[-1]
    assert system.role is Role.SYSTEM
    assert system.content.startswith(DEFAULT_SYSTEM)
    assert prepared().shown_full in system.content
    assert user == Message(Role.USER, "hi")
    assert prompt.max_tokens == 2048


@pytest.mark.parametrize(
    ("whole", "bare", "shown"),
    [
        (1000, 900, SchemaShown.FULL),
        (1100, 900, SchemaShown.WITHOUT_DESCRIPTIONS),
        (1100, 1025, SchemaShown.NONE),
    ],
)
async def test_auto_shows_what_takes_a_quarter_of_the_context(
    whole: int, bare: int, shown: SchemaShown
) -> None:
    schema = prepared(shown_full="w" * whole, shown_without_descriptions="b" * bare)
    prompt = await build_prompt(request(), schema, ScriptedEngine(max_model_len=4096))
    assert prompt.schema_shown is shown


async def test_tokens_of_a_shown_schema_are_counted_once() -> None:
    counted: list[str] = []

    class Counting(ScriptedEngine):
        async def tokenize(self, text: str) -> list[int]:
            counted.append(text)
            return await super().tokenize(text)

    schema = prepared(shown_full="w" * 1100, shown_without_descriptions="b" * 900)
    engine = Counting(max_model_len=4096)
    forms = [(await build_prompt(request(), schema, engine)).schema_shown for _ in range(3)]
    assert forms == [SchemaShown.WITHOUT_DESCRIPTIONS] * 3
    assert counted == [schema.shown_full, schema.shown_without_descriptions]


async def test_auto_leaves_room_for_the_completion() -> None:
    schema = prepared(shown_full="w" * 1000, shown_without_descriptions="b" * 500)
    engine = ScriptedEngine(max_model_len=4096)
    long_prompt = request(prompt="p" * 1600, max_tokens=1500)
    prompt = await build_prompt(long_prompt, schema, engine)
    assert prompt.schema_shown is SchemaShown.WITHOUT_DESCRIPTIONS
    assert len(prompt.token_ids) + prompt.max_tokens <= 4096


async def test_always_and_never_override_the_automatic_choice() -> None:
    schema = prepared(shown_full="w" * 3000, shown_without_descriptions="b")
    engine = ScriptedEngine(max_model_len=8192)
    always = await build_prompt(request(schema_in_prompt=SchemaInPrompt.ALWAYS), schema, engine)
    never = await build_prompt(request(schema_in_prompt=SchemaInPrompt.NEVER), schema, engine)
    assert always.schema_shown is SchemaShown.FULL
    assert never.schema_shown is SchemaShown.NONE


async def test_what_does_not_fit_is_told_with_both_numbers() -> None:
    with pytest.raises(GenirError) as raised:
        await build_prompt(
            request(
                prompt="p" * 900, max_tokens=200, schema_in_prompt=SchemaInPrompt.NEVER, system=""
            ),
            prepared(),
            ScriptedEngine(max_model_len=1000),
        )
    error = raised.value
    assert error.reason is Reason.PROMPT_TOO_LONG
    assert error.metadata == {
        "prompt_tokens": "900",
        "max_tokens": "200",
        "max_model_len": "1000",
    }
    assert "900" in error.message
    assert "1000" in error.message


async def test_max_tokens_that_was_not_given_is_not_named() -> None:
    with pytest.raises(GenirError) as raised:
        await build_prompt(
            request(prompt="p" * 1000, schema_in_prompt=SchemaInPrompt.NEVER, system=""),
            prepared(),
            ScriptedEngine(max_model_len=1000),
        )
    error = raised.value
    assert error.reason is Reason.PROMPT_TOO_LONG
    assert "max_tokens" not in f"{error.message} {error.fields}"
    assert error.metadata == {"prompt_tokens": "1000", "max_model_len": "1000"}
    assert "at most 999 fit beside one token of a completion" in error.fields[0].description


@pytest.mark.parametrize(
    ("prompt_tokens", "max_tokens", "advice", "field"),
    [
        (100, 3, "set max_tokens to 50 or more", "spec.max_tokens"),
        (960, 3, "raise max_tokens and shorten the prompt", "spec.max_tokens"),
        (960, None, "at least 50: shorten the prompt", "spec.prompt"),
    ],
)
async def test_too_small_budget_is_told_with_what_to_change(
    prompt_tokens: int, max_tokens: int | None, advice: str, field: str
) -> None:
    with pytest.raises(GenirError) as raised:
        await build_prompt(
            request(
                prompt="p" * prompt_tokens,
                max_tokens=max_tokens,
                schema_in_prompt=SchemaInPrompt.NEVER,
                system="",
            ),
            prepared(min_tokens=50),
            ScriptedEngine(max_model_len=1000),
        )
    error = raised.value
    assert error.reason is Reason.BUDGET_TOO_SMALL
    assert error.message.endswith(advice)
    assert [each.field for each in error.fields] == [field]


async def test_unset_budget_is_what_fits_the_context() -> None:
    prompt = await build_prompt(
        request(prompt="p" * 900, schema_in_prompt=SchemaInPrompt.NEVER, system=""),
        prepared(),
        ScriptedEngine(max_model_len=1000),
    )
    assert prompt.max_tokens == 100


async def test_raw_prompt_is_sent_unchanged() -> None:
    engine = ScriptedEngine()
    prompt = await build_prompt(request(prompt_format=PromptFormat.RAW), prepared(), engine)
    assert bytes(prompt.token_ids) == b"hi"
    assert not engine.chats


class Unreadable(ScriptedEngine):
    """Cannot read a text with the name of a special token as text."""

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        for message in messages:
            await self.tokenize(message.content)
        return await super().render_chat(messages)

    async def tokenize(self, text: str) -> list[int]:
        if "</s>" in text:
            raise SpecialTokenError("a text has the name of a special token")
        return await super().tokenize(text)


@pytest.mark.parametrize("prompt_format", PromptFormat)
async def test_text_that_the_tokenizer_cannot_read_is_refused(prompt_format: PromptFormat) -> None:
    with pytest.raises(GenirError) as raised:
        await build_prompt(
            request(prompt="a</s>b", prompt_format=prompt_format), prepared(), Unreadable()
        )
    assert raised.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in raised.value.fields] == ["spec.prompt"]
    assert "name of a special token" in raised.value.message


async def test_schema_that_the_tokenizer_cannot_read_is_shown_without_it() -> None:
    schema = prepared(shown_full='{"description":"</s>"}', shown_without_descriptions="{}")
    prompt = await build_prompt(request(), schema, Unreadable())
    assert prompt.schema_shown is SchemaShown.WITHOUT_DESCRIPTIONS
    assert await shown_by_size(schema, Unreadable()) is SchemaShown.WITHOUT_DESCRIPTIONS


async def test_retry_leaves_out_an_answer_that_the_tokenizer_cannot_read() -> None:
    engine = Unreadable()
    first = await build_prompt(request(), prepared(), engine)
    assert await build_retry_prompt(first, '{"a":"</s>"}', [], engine) is first
    assert await build_retry_prompt(first, '{"a":"s"}', [], engine) is not first


async def test_template_without_a_system_role_gets_one_user_message() -> None:
    engine = ScriptedEngine(system_role=False)
    await build_prompt(request(system="Be kind."), prepared(), engine)
    (only,) = engine.chats[-1]
    assert only.role is Role.USER
    assert only.content.startswith("Be kind.")
    assert only.content.endswith("hi")


async def test_conversation_keeps_its_own_system_message() -> None:
    engine = ScriptedEngine()
    conversation = (Message(Role.SYSTEM, "Mine."), Message(Role.USER, "hi"))
    await build_prompt(request(prompt=None, conversation=conversation), prepared(), engine)
    assert engine.chats[-1][0].content.startswith("Mine.")
    assert len(engine.chats[-1]) == 2


def test_default_system_message_keeps_its_wording() -> None:
    # Models see it: another word changes what they write at temperature 0.
    assert DEFAULT_SYSTEM == (
        "You write intermediate representations for code generation tools. "
        "Answer with one JSON value and nothing else. Be precise and brief."
    )
