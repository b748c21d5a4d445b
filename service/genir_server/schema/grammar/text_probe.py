"""Tries whether the engine writes the texts that patterns and lengths allow together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema_rs

from genir_server.schema.grammar.guidance import compile_matcher
from genir_server.schema.pattern.measure import has_nested_repetition
from genir_server.schema.pattern.parse import parse
from genir_server.schema.pattern.samples import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    import llguidance

    from genir_server.schema.relax.text_facts import Texts

_SAMPLES = 7
# Where there is no bound, texts have so many characters more than the fewest; and never more.
_MORE_CHARACTERS = 1_000
_MASKS = 4
_FORMAT_TEXTS = {
    "duration": ("P1D", "PT1H", "P1W", "P1Y2M3DT4H5M6S"),
    "ipv4": ("127.0.0.1", "255.255.255.255"),
    "uuid": ("00000000-0000-4000-8000-00000000000f",),
}


def needs_samples(facts: Texts) -> bool:
    """Whether the engine may fail after it has compiled the expressions.

    With one expression it was only seen where repetitions are inside one another.
    """
    expressions = len(facts.patterns) + len(facts.formats)
    return expressions > 1 or any(has_nested_repetition(parse(one)) for one in facts.patterns)


def writes_texts(tokenizer: llguidance.LLTokenizer, facts: Texts) -> bool:
    """Whether the engine writes every sample of the texts that satisfy the facts.

    True where no sample is found.
    """
    schema = _schema(facts)
    try:
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, offline=True)
        matcher = compile_matcher(tokenizer, json.dumps(schema))
    except (ValueError, jsonschema_rs.ReferencingError):
        return True
    error = matcher.get_error()
    if error:
        # Where nothing satisfies them, the whole schema tells.
        return "nsatisfiable" in error
    return not needs_samples(facts) or all(
        _writes(tokenizer, matcher, text) for text in _texts(facts) if validator.is_valid(text)
    )


def _schema(facts: Texts) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    if facts.low:
        schema["minLength"] = facts.low
    if facts.high is not None:
        schema["maxLength"] = facts.high
    schema["allOf"] = [
        *({"pattern": pattern} for pattern in facts.patterns),
        *({"format": name} for name in facts.formats),
    ]
    return schema


def _texts(facts: Texts) -> Iterator[str]:
    most = facts.low + _MORE_CHARACTERS
    high = most if facts.high is None else min(most, facts.high)
    for name in facts.formats:
        yield from _FORMAT_TEXTS.get(name, ())
        if name == "uri":
            yield from (f"a:{'b' * (length - 2)}" for length in (facts.low, high) if length > 1)
    for pattern in facts.patterns:
        yield from samples(pattern, facts.low, high, _SAMPLES)


def _writes(tokenizer: llguidance.LLTokenizer, matcher: llguidance.LLMatcher, text: str) -> bool:
    matcher.reset()
    tokens = tokenizer.tokenize_str(json.dumps(text, ensure_ascii=False))
    step = 1 + len(tokens) // _MASKS
    for start in range(0, len(tokens), step):
        # A mask takes more of the engine's allowance than a token.
        matcher.compute_bitmask()
        part = tokens[start : start + step]
        if matcher.try_consume_tokens(part) < len(part):
            return False
    return bool(matcher.is_accepting())
