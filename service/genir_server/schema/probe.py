"""Compiles an engine schema as the engine would, and tries a few places of the output."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.schema import engine
from genir_server.schema.refusal import too_complex

if TYPE_CHECKING:
    import llguidance

    from genir_server.schema.limits import SchemaLimits

_MOST_MASKS = 12
_FREE_STEPS = 6


@dataclass(frozen=True, slots=True)
class Measured:
    """What compiling cost.

    Attributes:
        compile_seconds: processor time of the compilation.
        worst_mask_seconds: processor time of the slowest set of allowed tokens.
        masks: how many were computed.

    """

    compile_seconds: float
    worst_mask_seconds: float
    masks: int


class GrammarError(Exception):
    """The grammar compiler refused the schema. The message is the compiler's."""


class Probe:
    """Tries schemas with one tokenizer.

    Args:
        tokenizer: the model's.
        limits: how long a mask may take.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer, limits: SchemaLimits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._end = int(tokenizer.eos_token)

    def compile(self, schema: str) -> tuple[llguidance.LLMatcher, float]:
        """A matcher for a schema and the seconds it took.

        Raises:
            GrammarError: the compiler refused.

        """
        start = time.thread_time()
        matcher = engine.matcher(self._tokenizer, schema)
        error = matcher.get_error()
        if error:
            raise GrammarError(error)
        return matcher, time.thread_time() - start

    def walk(
        self, matcher: llguidance.LLMatcher, compile_seconds: float, example: str | None
    ) -> Measured:
        """Computes masks along an example, and then where a model might go instead.

        Raises:
            SchemaRefusedError: SCHEMA_TOO_COMPLEX, a mask takes too long or hits a limit of the
                engine.

        """
        worst = 0.0
        masks = 0
        if example is not None:
            path = self._tokenizer.tokenize_str(example)
            stride = 1 + len(path) // _MOST_MASKS
            for index, token in enumerate(path):
                if index % stride == 0:
                    worst = max(worst, self._mask(matcher)[1])
                    masks += 1
                if not matcher.consume_token(token):
                    break
            self._check(matcher, example_ok=False)
            matcher.reset()
        for step in range(_FREE_STEPS):
            if matcher.is_stopped():
                break
            mask, seconds = self._mask(matcher)
            worst = max(worst, seconds)
            masks += 1
            token = self._pick(mask, step)
            if token is None or not matcher.consume_token(token):
                break
        self._check(matcher, example_ok=True)
        return Measured(compile_seconds, worst, masks)

    def _mask(self, matcher: llguidance.LLMatcher) -> tuple[bytes, float]:
        start = time.thread_time()
        mask = matcher.compute_bitmask()
        seconds = time.thread_time() - start
        if seconds > self._limits.mask_seconds:
            raise too_complex(
                "Deciding which tokens may come next takes too long",
                "mask_seconds",
                self._limits.mask_seconds,
                f"{seconds:.3f}",
            )
        return mask, seconds

    def _check(self, matcher: llguidance.LLMatcher, *, example_ok: bool) -> None:
        if matcher.is_error() and example_ok:
            raise too_complex(
                f"The engine reaches a limit of its own ({matcher.get_error()[:200]})",
                "engine_limit",
                0,
                1,
            )

    def _pick(self, mask: bytes, step: int) -> int | None:
        """Some allowed token, from another part of the vocabulary at each step."""
        start = (step * 977 + 131) % len(mask)
        for part, first in ((mask[start:], start), (mask, 0)):
            rest = part.lstrip(b"\0")
            if rest:
                bits = rest[0]
                token = 8 * (first + len(part) - len(rest)) + (bits & -bits).bit_length() - 1
                if token != self._end:
                    return token
        return None
