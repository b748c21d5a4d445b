"""Keeps one schema from being compiled again and again on its way through vLLM.

A schema is compiled by genir's own probe, before anything else, in a process that can be killed.
vLLM compiles it twice more for every request: to validate it, in the server's process, and to use
it, in the engine core's. Two small changes to vLLM at run time save that:

- `trust_checked_schemas`: the validation passes over a schema that is marked as checked.
- `reuse_compiled_grammars`: the engine core makes the grammar of a schema that it has compiled by
  copying the compiled one, which takes microseconds whatever its size.

Both first look whether vLLM has the shape they were written for (0.32), and otherwise leave it as
it is and say so. Copies share the states of their lexer, which grow with use, and a lock on them;
so a compiled grammar serves a few requests only and is then compiled anew. That bounds the states,
and lets masks be computed in parallel for a large batch that shares one schema.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from vllm.sampling_params import StructuredOutputsParams

logger = logging.getLogger(__name__)

USES_OF_A_GRAMMAR = 16
"""Requests that one compiled grammar serves."""

KEPT_SCHEMA_CHARACTERS = 1 << 20
"""Bound on the text of the schemas whose grammars are kept; a compiled grammar takes about 60 bytes
for each character of it."""

_LEAST_CHARACTERS = 2_500
"""What every schema counts for on top: its grammar's tables and the states of its lexer, together
some 150 kB, are there however short it is."""

_MARK = "genir_checked"


def mark_checked(params: StructuredOutputsParams) -> None:
    """Says that the schema of a request compiles. The mark stays in this process."""
    setattr(params, _MARK, True)


def trust_checked_schemas() -> None:
    """Makes vLLM's validation pass over schemas that are marked. For the server's process."""
    from vllm.sampling_params import SamplingParams
    from vllm.v1.structured_output import backend_guidance

    validate = backend_guidance.validate_guidance_grammar
    if getattr(validate, _MARK, False):
        return
    caller = getattr(SamplingParams, "_validate_structured_outputs", None)
    if (
        not _takes(validate, "sampling_params", "tokenizer")
        or not inspect.isfunction(caller)
        # It must look the function up when it calls it, or ours would never be called.
        or "validate_guidance_grammar" not in caller.__code__.co_names
    ):
        logger.warning("this vLLM validates schemas in its own way; each is compiled once more")
        return

    def passing_over_checked(sampling_params: Any, tokenizer: Any = None) -> None:  # noqa: ANN401
        if not getattr(sampling_params.structured_outputs, _MARK, False):
            validate(sampling_params, tokenizer)

    setattr(passing_over_checked, _MARK, True)
    backend_guidance.validate_guidance_grammar = passing_over_checked


def reuse_compiled_grammars() -> None:
    """Makes the guidance backend copy grammars that it has compiled. For the engine core."""
    from llguidance import LLMatcher
    from vllm.v1.structured_output.backend_guidance import GuidanceBackend, GuidanceGrammar

    compile_anew = GuidanceBackend.compile_grammar
    if (
        not _takes(compile_anew, "self", "request_type", "grammar_spec", "stop_token_ids")
        or [field.name for field in fields(GuidanceGrammar)][:3]
        != ["ll_matcher", "ll_tokenizer", "vocab_size"]
        or not hasattr(LLMatcher, "deep_copy")
    ):
        logger.warning("this vLLM compiles grammars in its own way; each is compiled every time")
        return
    kept = CompiledGrammars()

    def copy_or_compile(
        self: Any,  # noqa: ANN401
        request_type: Any,  # noqa: ANN401
        grammar_spec: str,
        stop_token_ids: set[int] | None = None,
    ) -> Any:  # noqa: ANN401
        matcher = kept.copy_of((request_type, grammar_spec))
        if matcher is not None:
            return GuidanceGrammar(matcher, self.ll_tokenizer, self.vocab_size)
        grammar = compile_anew(self, request_type, grammar_spec, stop_token_ids)
        if not grammar.ll_matcher.is_error():
            kept.keep((request_type, grammar_spec), grammar.ll_matcher, _size(grammar_spec))
        return grammar

    GuidanceBackend.compile_grammar = copy_or_compile


@dataclass(slots=True)
class _Kept:
    matcher: Any
    size: int
    uses: int = 1


class CompiledGrammars:
    """Matchers that nobody has used, to be copied; the one not asked for the longest goes first.

    May be used by several threads.

    Args:
        most_characters: bound on the sizes of all that is kept.
        uses: requests that a matcher serves, the one it was compiled for included.

    """

    def __init__(
        self, most_characters: int = KEPT_SCHEMA_CHARACTERS, uses: int = USES_OF_A_GRAMMAR
    ) -> None:
        self._most_characters = most_characters
        self._uses = uses
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def copy_of(self, key: Hashable) -> Any | None:  # noqa: ANN401 - llguidance is not typed here.
        """A fresh matcher; None when there is none to copy."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            found.uses += 1
            if found.uses >= self._uses:
                self._drop(key)
            return found.matcher.deep_copy()

    def keep(self, key: Hashable, matcher: Any, size: int) -> None:  # noqa: ANN401
        """Keeps a copy of a matcher that has not consumed anything yet."""
        with self._lock:
            self._drop(key)
            if size > self._most_characters:
                return
            self._kept[key] = _Kept(matcher.deep_copy(), size)
            self._characters += size
            while self._characters > self._most_characters:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._characters -= dropped.size


def _size(grammar_spec: str) -> int:
    return _LEAST_CHARACTERS + len(grammar_spec)


def _takes(function: Callable[..., object], *names: str) -> bool:
    return list(inspect.signature(function).parameters) == list(names)
