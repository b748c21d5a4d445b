"""The smallest text that ends a half-written value: it ends the value even if no model does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from genir_server.schema.grammar.guidance import compile_matcher
from genir_server.schema.grammar.minimal_instance import normal_integer
from genir_server.schema.grammar.small_text import write_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import llguidance

    from genir_server.schema.closing.closing_schema import ClosingSchema

_VARIATIONS = 6


def matcher_for(
    tokenizer: llguidance.LLTokenizer, closing: ClosingSchema
) -> llguidance.LLMatcher | None:
    """A matcher for a closing schema that has consumed the residual; None if it does not.

    Args:
        tokenizer: one of single bytes.
        closing: the closing schema.

    """
    try:
        matcher = compile_matcher(tokenizer, closing.text)
    except ValueError:
        return None
    if matcher.is_error() or not matcher.consume_tokens(list(closing.residual)):
        return None
    return matcher


def smallest_text(
    text: bytes,
    closing: Sequence[tuple[bytes, llguidance.LLMatcher]],
    engine: llguidance.LLMatcher,
    *,
    names: Sequence[bytes],
    is_valid: Callable[[object], bool],
    deadline: float,
) -> tuple[str, bool] | None:
    """The smallest text found after which a text is a valid value; None if none is found.

    Args:
        text: the text.
        closing: residuals with the matchers of closing schemas that have consumed them, preferred
            ones first.
        engine: the matcher of the engine schema that has consumed the text. It is asked where
            closing schemas give nothing.
        names: names of required members, as JSON with the colon.
        is_valid: whether a parsed value is valid for the caller's schema.
        deadline: processor time of this thread at which the search stops.

    Returns:
        The text, and whether a closing schema gave it.

    """
    for variation in range(_VARIATIONS):
        for begun, matcher in (*closing, (text, engine)):
            rest = write_rest(
                matcher.deep_copy(),
                begun,
                deadline,
                variation,
                names if matcher is engine else (),
            )
            if rest is not None and is_value(text + rest.encode(), is_valid):
                return rest, matcher is not engine
    return None


def is_value(text: bytes, is_valid: Callable[[object], bool]) -> bool:
    """Whether a text is a valid value in which no object has a key twice."""
    try:
        value = json.loads(
            text.decode(), parse_int=normal_integer, object_pairs_hook=_without_duplicates
        )
    except ValueError:
        return False
    return is_valid(value)


def _without_duplicates(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a key stands twice")
    return found
