"""Chat templates, with a real tokenizer and several calls at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from genir_server.domain.types import Message, Role
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.vllm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONVERSATION = (Message(Role.SYSTEM, "Answer in JSON."), Message(Role.USER, "A cat, please."))


@pytest.fixture(scope="module")
async def model_tokenizer() -> Any:
    from transformers import AutoTokenizer

    folder = await ensure_embedded_model()
    return await asyncio.to_thread(AutoTokenizer.from_pretrained, folder)


@pytest.fixture
async def chat(model_tokenizer: Any) -> AsyncIterator[ChatTokenizer]:
    chat = ChatTokenizer(model_tokenizer)
    yield chat
    chat.close()


async def test_models_own_template_is_used(chat: ChatTokenizer, model_tokenizer: Any) -> None:
    text = model_tokenizer.decode(await chat.render_chat(CONVERSATION))
    assert "<|im_start|>system\nAnswer in JSON.<|im_end|>" in text
    assert text.endswith("<|im_start|>assistant\n")


async def test_model_without_a_template_gets_the_plain_one(model_tokenizer: Any) -> None:
    import copy

    bare = copy.deepcopy(model_tokenizer)
    bare.chat_template = None
    chat = ChatTokenizer(bare)
    text = model_tokenizer.decode(await chat.render_chat(CONVERSATION))
    assert text == "System: Answer in JSON.\n\nUser: A cat, please.\n\nAssistant: "
    chat.close()


async def test_refusal_by_the_template_is_reported(model_tokenizer: Any) -> None:
    import copy

    strict = copy.deepcopy(model_tokenizer)
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    chat = ChatTokenizer(strict)
    with pytest.raises(ValueError, match="refuses the conversation: System role not supported"):
        await chat.render_chat(CONVERSATION)
    chat.close()


async def test_concurrent_calls_give_the_same_tokens_as_single_ones(chat: ChatTokenizer) -> None:
    texts = [f"{number} " * 200 for number in range(40)]
    alone = [await chat.tokenize(text) for text in texts]
    assert await asyncio.gather(*map(chat.tokenize, texts)) == alone


async def test_text_round_trips(chat: ChatTokenizer, model_tokenizer: Any) -> None:
    text = "Ein Häuschen, 猫 and 🐈."
    assert model_tokenizer.decode(await chat.tokenize(text)) == text
