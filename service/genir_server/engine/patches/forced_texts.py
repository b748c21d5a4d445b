"""Makes the engine core write forced texts as they stand, whatever names of tokens they contain.

What a grammar forces, llguidance gives the model as tokens, made by the model's own tokenizer. In
the engine core this is then the tokenizer that the server's workers have, whose tokens write
exactly the text (`engine.vllm.faithful_tokenizer`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from vllm.tokenizers import TokenizerLike

logger = logging.getLogger(__name__)


def force_texts_as_they_stand() -> None:
    """Changes the tokenizer of the guidance backend, in the engine core's process."""
    if not applies("forced texts"):
        logger.warning(
            "schemas that force the name of a special token fail: %s", outcomes()["forced texts"]
        )
        return
    from vllm.v1.structured_output.backend_guidance import GuidanceBackend

    GuidanceBackend._build_ll_tokenizer = staticmethod(guidance_tokenizer)  # noqa: SLF001


def guidance_tokenizer(tokenizer: TokenizerLike, vocab_size: int) -> Any:  # noqa: ANN401
    """Replaces `GuidanceBackend._build_ll_tokenizer`; the arguments are vLLM's."""
    import llguidance
    from vllm.utils.mistral import is_mistral_tokenizer

    if is_mistral_tokenizer(tokenizer):
        # It reads no names and changes no texts.
        return tokenizer.llg_tokenizer
    from genir_server.engine.vllm.grammar_tokenizer import grammar_tokenizer

    taken = grammar_tokenizer(tokenizer, vocab_size)
    return llguidance.LLTokenizer(
        taken.hugging_face, n_vocab=taken.vocabulary, eos_token=taken.end_token
    )
