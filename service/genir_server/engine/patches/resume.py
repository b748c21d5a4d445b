"""Lets the grammar of a request begin in the middle of a text.

A request that continues a text needs a grammar that has consumed this text. vLLM makes every
grammar at its beginning. With this patch, the engine core gives a new grammar the text that the
request's parameters hold, before the request is scheduled. vLLM does not read the parameter.

The grammar is the request's own, also when it is a copy from the cache of compiled grammars. vLLM
makes it in a thread beside the steps of other requests. If it refuses the text, vLLM ends this
request as it does for a grammar that does not compile.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

RESUME = "resume"
"""The entry of the patch table."""

_KEY = "genir_consumed"
_MARK = "genir_resumes"

_STRIDE = 32
"""Number of tokens after which the thread lets others run: it holds the interpreter's lock while a
matcher consumes tokens."""


def resume_arguments(consumed: bytes) -> dict[str, Any] | None:
    """The value of `SamplingParams.extra_args` that carries a text to the engine core."""
    return {_KEY: consumed} if consumed else None


def resume_grammars() -> None:
    """Applies the patch in the engine core's process. May be called again."""
    from vllm.v1.structured_output import StructuredOutputManager

    create_grammar = StructuredOutputManager._create_grammar  # noqa: SLF001
    if getattr(create_grammar, _MARK, False):
        return
    if not applies(RESUME):
        logger.warning("generations cannot be resumed: %s", outcomes()[RESUME])
        return

    def create_and_consume(self: Any, request: Any) -> Any:  # noqa: ANN401 - vLLM's own.
        grammar = create_grammar(self, request)
        consumed = _consumed(request.sampling_params)
        if consumed:
            _consume_or_raise(grammar, consumed)
        return grammar

    setattr(create_and_consume, _MARK, True)
    StructuredOutputManager._create_grammar = create_and_consume  # noqa: SLF001


def consume(grammar: Any, text: bytes) -> bool:  # noqa: ANN401 - vLLM is not typed here.
    """Advances a grammar of vLLM over a text, and returns whether it accepts all of it.

    Args:
        grammar: one that is not in use and has consumed nothing.
        text: may end inside a character.

    Raises:
        TypeError: the grammar is of a backend that cannot consume a text.

    """
    from vllm.v1.structured_output.backend_guidance import GuidanceGrammar
    from vllm.v1.structured_output.backend_xgrammar import XgrammarGrammar

    if isinstance(grammar, GuidanceGrammar):
        matcher = grammar.ll_matcher
        return not matcher.is_error() and all(
            matcher.try_consume_tokens(tokens) == len(tokens)
            for tokens in _slices(_plain_tokens(grammar.ll_tokenizer, text))
        )
    if isinstance(grammar, XgrammarGrammar):
        return bool(grammar.matcher.accept_string(text))
    raise TypeError(f"{type(grammar).__name__} cannot consume a text")


def _plain_tokens(tokenizer: Any, text: bytes) -> list[int]:  # noqa: ANN401 - not typed here.
    """Any tokens of exactly these bytes: to a grammar of JSON, only the bytes matter.

    The model's own tokenization would read the names of special tokens as these tokens.
    """
    whole = text.decode(errors="ignore")
    tokens: list[int] = tokenizer.greedy_tokenize(whole)
    tokens += tokenizer.tokenize_bytes(text[len(whole.encode()) :])
    if tokenizer.decode_bytes(tokens) != text:
        raise ValueError("the tokenizer cannot write the text")
    return tokens


def _slices(tokens: list[int]) -> Iterator[list[int]]:
    return (tokens[at : at + _STRIDE] for at in range(0, len(tokens), _STRIDE))


def _consumed(sampling_params: Any) -> bytes:  # noqa: ANN401 - vLLM is not typed here.
    arguments = getattr(sampling_params, "extra_args", None)
    return arguments.get(_KEY, b"") if arguments else b""


def _consume_or_raise(grammar: Any, text: bytes) -> None:  # noqa: ANN401 - vLLM is not typed here.
    from vllm.exceptions import VLLMValidationError

    try:
        accepted = consume(grammar, text)
    # A panic of a library in Rust is no Exception; vLLM would let it end the engine core.
    except BaseException as error:
        raise VLLMValidationError(f"the grammar cannot be resumed ({type(error).__name__})") from (
            error
        )
    if not accepted:
        raise VLLMValidationError("the grammar does not accept the text to resume after")
