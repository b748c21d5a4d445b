"""Takes from vLLM's tokenizer what the grammar compiler needs of it.

Imports vllm, so it is imported late.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from vllm.utils.mistral import is_mistral_tokenizer
from vllm.v1.structured_output.backend_guidance import GuidanceBackend

from genir_server.domain.grammar_tokenizer import GrammarTokenizer
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.faithful_tokenizer import faithful

if TYPE_CHECKING:
    from vllm.tokenizers import TokenizerLike
    from vllm.tokenizers.mistral import MistralTokenizer


_ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<\uff5cend▁of▁sentence\uff5c>", "<eos>")
"""Names by which llguidance knows the token that ends a text, if the tokenizer does not say."""


def grammar_tokenizer(tokenizer: TokenizerLike, vocabulary: int) -> GrammarTokenizer:
    """The tokenizer that llguidance makes of a model's own, here and in the engine core.

    Args:
        tokenizer: vLLM's, which comes from a ``tokenizer.json``, from files that transformers
            converts to it (``tokenizer.model``, ``tiktoken.model``), or from ``tekken.json``.
        vocabulary: numbers that the model may give a token.

    Raises:
        EngineStartError: it is of a kind that llguidance does not read.

    """
    if not GuidanceBackend.is_tokenizer_supported(tokenizer):
        raise EngineStartError(_refusal(tokenizer))
    if is_mistral_tokenizer(tokenizer):
        return _tekken(tokenizer)
    # As `llguidance.hf.from_tokenizer` does it. Added tokens may be missing in tokenizer.json.
    backend = copy.copy(tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    end = tokenizer.eos_token_id
    if end is None:
        numbers = (backend.token_to_id(name) for name in _ENDS)
        end = next((number for number in numbers if number is not None), None)
    return GrammarTokenizer(
        hugging_face=faithful(backend.to_str()),
        vocabulary=max(vocabulary, len(tokenizer)),
        end_token=end,
    )


def _tekken(tokenizer: MistralTokenizer) -> GrammarTokenizer:
    from mistral_common.guidance.tokenizer import MistralLLGTokenizer

    inner = tokenizer.tokenizer
    try:
        tokens = MistralLLGTokenizer(inner)
    except ValueError as error:
        raise EngineStartError(f"llguidance cannot use the model's tekken.json: {error}") from error
    special = {number: tokens.tokens[number].decode() for number in tokens.special_token_ids}
    return GrammarTokenizer(
        ranks={
            token: number for number, token in enumerate(tokens.tokens) if number not in special
        },
        special_tokens={name: number for number, name in special.items()},
        pattern=json.loads(inner.file_path.read_bytes())["config"]["pattern"],
        end_token=tokens.eos_token_id,
    )


def _refusal(tokenizer: TokenizerLike) -> str:
    if is_mistral_tokenizer(tokenizer):
        return (
            "llguidance cannot use the model's tokenizer, which is Mistral's own in the format of "
            "sentencepiece: if the model has a tokenizer.json too, set --engine-args "
            "tokenizer_mode=hf"
        )
    return (
        f"llguidance cannot use the model's tokenizer ({type(tokenizer).__name__}), which is "
        "written in Python: choose a model with a tokenizer.json, or name one that has the same "
        "tokens with --engine-args tokenizer=FOLDER_OR_NAME"
    )
