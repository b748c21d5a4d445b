"""Turns conversations and text into token ids, in threads beside the event loop."""

from __future__ import annotations

import asyncio
import copy
import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genir_server.engine.vllm.special_tokens import restored, special_tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from genir_server.domain.types import Message

THREADS = 2

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Used for models that have no chat template."""


class ChatTokenizer:
    """A model's tokenizer and chat template behind a small pool of threads.

    Args:
        tokenizer: a Hugging Face tokenizer. It is copied for each thread, because a Rust tokenizer
            must not be used by two threads at once ("Already borrowed") and vLLM uses this one.
        template: the chat template; None if the tokenizer renders with code of its own, which is
            then for several threads, as Mistral's is.
        allow_special_tokens: whether the names of special tokens in callers' texts are read as
            these tokens, not as text.

    Raises:
        EngineStartError: the tokenizer cannot read them as text.

    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: str | None,
        allow_special_tokens: bool = False,
    ) -> None:
        self._special = None if allow_special_tokens else special_tokens_of(tokenizer)
        self._template = template
        # Others keep no state, and some cannot be copied.
        in_rust = hasattr(tokenizer, "backend_tokenizer")
        self._idle: queue.SimpleQueue[PreTrainedTokenizerBase] = queue.SimpleQueue()
        for _ in range(THREADS):
            self._idle.put(copy.deepcopy(tokenizer) if in_rust else tokenizer)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="genir-tokenizer")

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation, ending where the assistant's answer begins.

        Raises:
            ValueError: the template refuses the conversation; the message says why.
            SpecialTokenError: the tokenizer cannot read a message as text.

        """
        turns = [{"role": str(message.role), "content": message.content} for message in messages]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._render_chat, turns)

    async def tokenize(self, text: str) -> list[int]:
        """The token ids of raw text, including the model's special tokens around a text.

        Raises:
            SpecialTokenError: the tokenizer cannot read it as text.

        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._tokenize, text)

    def close(self) -> None:
        """Ends the threads. Calls that are running finish; calls that are waiting are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _render_chat(self, turns: list[dict[str, str]]) -> list[int]:
        from jinja2 import TemplateError

        special = self._special
        if special is not None:
            turns = [{**turn, "content": special.hide(turn["content"])} for turn in turns]
        with self._tokenizer() as tokenizer:
            try:
                rendered = tokenizer.apply_chat_template(
                    turns,
                    chat_template=self._template,
                    add_generation_prompt=True,
                    tokenize=special is None,
                    return_dict=False,
                )
            except TemplateError as error:
                raise ValueError(
                    f"the model's chat template refuses the conversation: {restored(str(error))}"
                ) from error
            except Exception as error:
                # A template is a program, such as one that expects tools to be listed, and some
                # families render in Python, with assertions and exceptions of their own.
                raise ValueError(
                    "the model's chat template does not work with this conversation "
                    f"({type(error).__name__})"
                ) from error
            return list(rendered if special is None else special.token_ids(tokenizer, rendered))

    def _tokenize(self, text: str) -> list[int]:
        special = self._special
        with self._tokenizer() as tokenizer:
            if special is None:
                return list(tokenizer.encode(text))
            return special.token_ids(tokenizer, special.hide(text), add_special_tokens=True)

    @contextmanager
    def _tokenizer(self) -> Iterator[PreTrainedTokenizerBase]:
        tokenizer = self._idle.get()
        try:
            yield tokenizer
        finally:
            self._idle.put(tokenizer)
