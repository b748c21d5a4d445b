"""Limits of llguidance itself, made low enough to be reached."""

from __future__ import annotations

import json

import llguidance
import pytest

from genir_server.domain.errors import Reason
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import LIMITS, grammar_of, load_tokenizer
from genir_server.schema.grammar.trial import GrammarTrial, engine_limit
from genir_server.schema.limits import SchemaLimits

SCHEMA = json.dumps(
    {"type": "object", "properties": {f"p{index}": {"pattern": "(a|bc)+x"} for index in range(9)}}
)


def refusal(monkeypatch: pytest.MonkeyPatch, limits: llguidance.LLParserLimits) -> dict[str, str]:
    """The metadata of the refusal by a trial in which llguidance has these limits."""

    def matcher(tokenizer: llguidance.LLTokenizer, schema: str) -> llguidance.LLMatcher:
        return llguidance.LLMatcher(tokenizer, grammar_of(schema), log_level=0, limits=limits)

    monkeypatch.setattr("genir_server.schema.grammar.trial.compile_matcher", matcher)
    subject = GrammarTrial(load_tokenizer(None), SchemaLimits())
    compiled, _ = subject.compile(SCHEMA)
    with pytest.raises(SchemaRefusedError) as caught:
        subject.walk(compiled, '{"p0":"aax"}')
    assert caught.value.reason is Reason.SCHEMA_TOO_COMPLEX
    return caught.value.metadata


def test_too_many_items_in_a_row_give_limit_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = refusal(monkeypatch, llguidance.LLParserLimits(max_items_in_row=3))
    assert int(metadata.pop("value")) > 3
    assert metadata == {"pointer": "", "limit": "engine_limit", "max": "3"}


def test_too_many_items_in_a_step_give_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = refusal(monkeypatch, llguidance.LLParserLimits(step_max_items=3))
    assert metadata == {
        "pointer": "",
        "limit": "engine_limit",
        "max": "3",
        "value": "more than 3",
    }


def test_too_many_lexer_states_give_limit_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = refusal(monkeypatch, llguidance.LLParserLimits(max_lexer_states=5))
    assert int(metadata.pop("value")) > 5
    assert metadata == {"pointer": "", "limit": "engine_limit", "max": "5"}


def test_too_much_lexer_work_gives_the_default_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of llguidance has no number, so the default limit is reported."""
    metadata = refusal(monkeypatch, llguidance.LLParserLimits(step_lexer_fuel=3))
    limit = str(LIMITS.step_lexer_fuel)
    assert metadata == {
        "pointer": "",
        "limit": "engine_limit",
        "max": limit,
        "value": f"more than {limit}",
    }


def test_unknown_limit_is_reported_without_numbers() -> None:
    refused = engine_limit("some new limit")
    assert "some new limit" not in refused.message
    assert refused.metadata == {"pointer": "", "limit": "engine_limit"}
