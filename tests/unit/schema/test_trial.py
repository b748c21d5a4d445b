"""The engine's own limits, as it tells them when they are set low enough to be reached."""

from __future__ import annotations

import json

import llguidance
import pytest

from genir_server.domain.errors import Reason
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar import guidance as engine
from genir_server.schema.grammar.trial import Probe, engine_limit
from genir_server.schema.limits import SchemaLimits

SCHEMA = json.dumps(
    {"type": "object", "properties": {f"p{index}": {"pattern": "(a|bc)+x"} for index in range(9)}}
)


def refusal(monkeypatch: pytest.MonkeyPatch, limits: llguidance.LLParserLimits) -> dict[str, str]:
    """The metadata of the refusal by a probe whose engine has these limits."""

    def matcher(tokenizer: llguidance.LLTokenizer, schema: str) -> llguidance.LLMatcher:
        return llguidance.LLMatcher(tokenizer, engine.grammar(schema), log_level=0, limits=limits)

    monkeypatch.setattr(engine, "matcher", matcher)
    probe = Probe(engine.load_tokenizer(None), SchemaLimits())
    compiled, _ = probe.compile(SCHEMA)
    with pytest.raises(SchemaRefusedError) as caught:
        probe.walk(compiled, '{"p0":"aax"}')
    assert caught.value.reason is Reason.SCHEMA_TOO_COMPLEX
    return caught.value.metadata


def test_items_of_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, llguidance.LLParserLimits(max_items_in_row=3))
    assert int(told.pop("value")) > 3
    assert told == {"pointer": "", "limit": "engine_limit", "max": "3"}


def test_items_of_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, llguidance.LLParserLimits(step_max_items=3))
    assert told == {
        "pointer": "",
        "limit": "engine_limit",
        "max": "3",
        "value": "more than 3",
    }


def test_states_of_the_lexer(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, llguidance.LLParserLimits(max_lexer_states=5))
    assert int(told.pop("value")) > 5
    assert told == {"pointer": "", "limit": "engine_limit", "max": "5"}


def test_the_work_of_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine does not tell the bound: it is the one that engines have."""
    told = refusal(monkeypatch, llguidance.LLParserLimits(step_lexer_fuel=3))
    most = str(engine.LIMITS.step_lexer_fuel)
    assert told == {
        "pointer": "",
        "limit": "engine_limit",
        "max": most,
        "value": f"more than {most}",
    }


def test_a_limit_that_is_not_known_is_told_without_numbers() -> None:
    told = engine_limit("some new limit")
    assert "some new limit" in told.message
    assert told.metadata == {"pointer": "", "limit": "engine_limit"}
