"""Finds the chat template that vLLM would use for a model.

Imports vllm, so it is imported late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm.renderers.hf import resolve_chat_template
from vllm.tokenizers.registry import tokenizer_args_from_config

from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.start_fault import one_line
from genir_server.engine.vllm.tokenizer import PLAIN_TEMPLATE

if TYPE_CHECKING:
    from vllm.config import ModelConfig
    from vllm.tokenizers import TokenizerLike

_JINJA = "hf"
_IN_TOKENIZER = frozenset({"mistral", "deepseek_v32", "deepseek_v4", "deepseek_v41"})
"""Modes of vLLM in which the tokenizer renders conversations with code of its own."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How the conversations of a model become text.

    Attributes:
        jinja: the template; None if the tokenizer renders with code of its own.
        origin: where it comes from, for an operator.

    """

    jinja: str | None
    origin: str


def chat_template_of(tokenizer: TokenizerLike, model: ModelConfig) -> ChatTemplate:
    """The template of a model, or a plain one for a model that has none.

    Raises:
        EngineStartError: vLLM has no template for this model but code outside the tokenizer, from
            which the texts of callers could not be told apart.

    """
    mode, *_ = tokenizer_args_from_config(model)
    if mode in _IN_TOKENIZER:
        return ChatTemplate(None, f"code of vLLM for {mode}")
    if mode != _JINJA:
        raise EngineStartError(
            f"vLLM renders the conversations of this model with code of its own ({mode}), which "
            "genir does not use: choose another model, or, if this one has a Jinja chat template, "
            "set --engine-args tokenizer_mode=hf"
        )
    own = getattr(tokenizer, "chat_template", None)
    try:
        if own and not model.is_multimodal_model:
            # vLLM would look for a processor first, for half a second, which only others have.
            found = tokenizer.get_chat_template()
        else:
            found = resolve_chat_template(tokenizer, None, None, model_config=model)
    except Exception as error:  # A processor of a model may fail in any way.
        raise EngineStartError(
            f"the chat template of {model.model} cannot be read: {one_line(error)}"
        ) from error
    if not found:
        return ChatTemplate(PLAIN_TEMPLATE, "genir's plain one: the model has none")
    return ChatTemplate(
        found, "the model's own" if own else f"vLLM's for {model.hf_config.model_type}"
    )
