"""Compiles an engine schema as the engine would, and tries a few places of the output."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.schema.errors import SchemaRefusedError, too_complex
from genir_server.schema.grammar import guidance as engine

if TYPE_CHECKING:
    import llguidance

    from genir_server.schema.limits import SchemaLimits

_MOST_MASKS = 12
_FREE_STEPS = 6
# How the engine tells its limits. It does not tell the first, which is then its default.
_ENGINE_LIMITS = tuple(
    (name, re.compile(form))
    for name, form in (
        ("step_lexer_fuel", r"too many expressions"),
        ("max_items_in_row", r"has (?P<value>\d+) items; max is (?P<most>\d+)"),
        ("step_max_items", r"Too many items \(limit (?P<most>\d+)"),
        ("max_lexer_states", r"too many states: (?P<value>\d+) >= (?P<most>\d+)"),
    )
)


class GrammarError(Exception):
    """The grammar compiler refused the schema. The message is the compiler's."""


class Probe:
    """Tries schemas with one tokenizer.

    Args:
        tokenizer: the model's.
        limits: how long compiling and a mask may take.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer, limits: SchemaLimits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._end = int(tokenizer.eos_token)
        self._walk_began = 0.0

    def compile(self, schema: str) -> tuple[llguidance.LLMatcher, float]:
        """A matcher for a schema and the seconds it took.

        Raises:
            GrammarError: the compiler refused.
            SchemaRefusedError: SCHEMA_TOO_COMPLEX, it takes too long.

        """
        start = time.thread_time()
        matcher = engine.matcher(self._tokenizer, schema)
        error = matcher.get_error()
        if error:
            raise GrammarError(error)
        seconds = time.thread_time() - start
        if seconds > self._limits.compile_seconds:
            raise too_complex(
                "Compiling the schema takes too long",
                "compile_seconds",
                self._limits.compile_seconds,
                f"{seconds:.3g}",
            )
        return matcher, seconds

    def walk(self, matcher: llguidance.LLMatcher, example: str | None) -> float:
        """Computes masks along an example, and then where a model might go instead.

        Returns:
            The time of the slowest, in seconds.

        Raises:
            SchemaRefusedError: SCHEMA_TOO_COMPLEX, a mask takes too long or hits a limit of the
                engine.

        """
        self._walk_began = time.thread_time()
        worst = 0.0
        if example is not None:
            path = self._tokenizer.tokenize_str(example)
            # A token that does not fit would leave the matcher in error for good.
            path = path[: matcher.validate_tokens(path)]
            stride = 1 + len(path) // _MOST_MASKS
            for index, token in enumerate(path):
                if index % stride == 0:
                    worst = max(worst, self._mask(matcher)[1])
                if not matcher.consume_token(token):
                    break
            self._refuse_error(matcher)
            matcher.reset()
        for step in range(_FREE_STEPS):
            if matcher.is_stopped():
                break
            mask, seconds = self._mask(matcher)
            worst = max(worst, seconds)
            token = self._pick(mask, step)
            if token is None or not matcher.consume_token(token):
                break
        self._refuse_error(matcher)
        return worst

    def _refuse_error(self, matcher: llguidance.LLMatcher) -> None:
        if matcher.is_error():
            # What follows the first line is the matcher's state.
            reason = matcher.get_error().partition("\n")[0][:200]
            raise engine_limit(reason)

    def _mask(self, matcher: llguidance.LLMatcher) -> tuple[bytes, float]:
        # By the clock, which costs little to read; a mask that seems slow on a machine that is
        # busy is only held against the schema when the processor was at it that long.
        start = time.perf_counter()
        mask = matcher.compute_bitmask()
        seconds = time.perf_counter() - start
        busy = time.thread_time() - self._walk_began if self._is_slow(seconds) else 0.0
        if self._is_slow(min(seconds, busy)):
            raise too_complex(
                "Deciding which tokens may come next takes too long",
                "mask_seconds",
                self._limits.mask_seconds,
                f"{seconds:.3g}",
            )
        return mask, seconds

    def _is_slow(self, seconds: float) -> bool:
        return seconds > self._limits.mask_seconds

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


def engine_limit(reason: str) -> SchemaRefusedError:
    """The refusal of a schema under which the engine reaches a limit of its own.

    Its numbers are in the refusal where the engine is known to tell them.

    Args:
        reason: what the engine says.

    """
    what = f"The engine reaches a limit of its own ({reason})"
    for name, form in _ENGINE_LIMITS:
        found = form.search(reason)
        if found is not None:
            numbers = found.groupdict()
            most = int(numbers.get("most") or getattr(engine.LIMITS, name))
            return too_complex(what, "engine_limit", most, numbers.get("value"))
    return SchemaRefusedError(Reason.SCHEMA_TOO_COMPLEX, what, pointer="", limit="engine_limit")
