"""The trial compile: compiles an engine schema as the engine would and computes some masks."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.schema.errors import SchemaRefusedError, too_complex
from genir_server.schema.grammar.guidance import LIMITS, compile_matcher
from genir_server.schema.isolation.slowness import MACHINE

if TYPE_CHECKING:
    import llguidance

    from genir_server.schema.limits import SchemaLimits

_MAX_MASKS = 12
_FREE_STEPS = 6
# What reaches each limit, and how the messages of llguidance give it. The first gives no number:
# the default applies.
_ENGINE_LIMITS = tuple(
    (name, what, re.compile(form))
    for name, what, form in (
        ("step_lexer_fuel", "expressions in one step", r"too many expressions"),
        (
            "max_items_in_row",
            "alternatives at one place of a value",
            r"has (?P<value>\d+) items; max is (?P<max>\d+)",
        ),
        ("step_max_items", "alternatives in one token", r"Too many items \(limit (?P<max>\d+)"),
        (
            "max_lexer_states",
            "states of its patterns",
            r"too many states: (?P<value>\d+) >= (?P<max>\d+)",
        ),
    )
)


class GrammarError(Exception):
    """The grammar compiler refused the schema. The message is the compiler's."""


class GrammarTrial:
    """Compiles schemas for one tokenizer and computes masks under them.

    Args:
        tokenizer: the model's.
        limits: how long compiling and a mask may take.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer, limits: SchemaLimits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._end = int(tokenizer.eos_token)
        self._walk_start = 0.0

    def compile(self, schema: str) -> tuple[llguidance.LLMatcher, float]:
        """A matcher for a schema, and the processor seconds it took.

        Raises:
            GrammarError: the compiler refused the schema.
            SchemaRefusedError: SCHEMA_TOO_COMPLEX; compiling takes too long.

        """
        start = time.thread_time()
        try:
            matcher = compile_matcher(self._tokenizer, schema)
        except ValueError as fault:
            raise GrammarError(str(fault)) from None
        error = matcher.get_error()
        if error:
            raise GrammarError(error)
        seconds = time.thread_time() - start
        if seconds > self._limits.compile_seconds * MACHINE.factor():
            raise too_complex(
                "Compiling the schema takes too long",
                "compile_seconds",
                self._limits.compile_seconds,
                f"{seconds:.3g}",
            )
        return matcher, seconds

    def walk(self, matcher: llguidance.LLMatcher, instance: str | None) -> float:
        """Computes masks along a valid instance, then along a few tokens chosen from the masks.

        Returns:
            The seconds of the slowest mask.

        Raises:
            SchemaRefusedError: SCHEMA_TOO_COMPLEX; a mask takes too long or reaches a limit of the
                engine.

        """
        self._walk_start = time.thread_time()
        slowest = 0.0
        if instance is not None:
            path = self._tokenizer.tokenize_str(instance)
            # A token that does not fit would put the matcher into a permanent error.
            path = path[: matcher.validate_tokens(path)]
            stride = 1 + len(path) // _MAX_MASKS
            for index, token in enumerate(path):
                if index % stride == 0:
                    slowest = max(slowest, self._mask(matcher)[1])
                if not matcher.consume_token(token):
                    break
            self._refuse_error(matcher)
            matcher.reset()
        for step in range(_FREE_STEPS):
            if matcher.is_stopped():
                break
            mask, seconds = self._mask(matcher)
            slowest = max(slowest, seconds)
            token = self._pick(mask, step)
            if token is None or not matcher.consume_token(token):
                break
        self._refuse_error(matcher)
        return slowest

    def _refuse_error(self, matcher: llguidance.LLMatcher) -> None:
        if matcher.is_error():
            # After the first line comes the matcher's state.
            reason = matcher.get_error().partition("\n")[0][:200]
            raise engine_limit(reason)

    def _mask(self, matcher: llguidance.LLMatcher) -> tuple[bytes, float]:
        # The clock is cheap to read but counts the time of other processes too. So a mask that
        # seems slow counts only if this thread also used that much processor time.
        start = time.perf_counter()
        mask = matcher.compute_bitmask()
        seconds = time.perf_counter() - start
        is_slow = seconds > self._limits.mask_seconds
        busy = time.thread_time() - self._walk_start if is_slow else 0.0
        if min(seconds, busy) > self._limits.mask_seconds * MACHINE.factor():
            raise too_complex(
                "Deciding which tokens may come next takes too long",
                "mask_seconds",
                self._limits.mask_seconds,
                f"{seconds:.3g}",
            )
        return mask, seconds

    def _pick(self, mask: bytes, step: int) -> int | None:
        """An allowed token, from a different part of the vocabulary at each step."""
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
    """The refusal of a schema under which llguidance reaches one of its own limits.

    The refusal gives the limit and the value where llguidance gives them.

    Args:
        reason: the message of llguidance.

    """
    beginning = "The engine reaches one of its own limits"
    for name, counted, form in _ENGINE_LIMITS:
        found = form.search(reason)
        if found is not None:
            numbers = found.groupdict()
            limit = int(numbers.get("max") or getattr(LIMITS, name))
            what = f"{beginning}, of {counted}"
            return too_complex(what, "engine_limit", limit, numbers.get("value"))
    what = f"{beginning}: write a simpler schema"
    return SchemaRefusedError(Reason.SCHEMA_TOO_COMPLEX, what, pointer="", limit="engine_limit")
