"""Values that reach `max_tokens` are ended early by the real engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from genir import Completed, ResumptionReason, Rewound, TextDelta
from genir.types import FinishReason

if TYPE_CHECKING:
    from genir import IRClient

TREE: dict[str, Any] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
LIST: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {"type": "array", "items": {"type": "string", "minLength": 30}, "minItems": 2},
        "done": {"type": "boolean"},
    },
    "required": ["steps", "done"],
    "additionalProperties": False,
}
PROMPT = "Describe the whole history of the compiler, in every detail."


@pytest.mark.any_model
@pytest.mark.parametrize("schema", [TREE, LIST, {}], ids=["tree", "list", "anything"])
def test_call_with_too_few_tokens_ends_with_a_valid_value(
    client: IRClient, schema: dict[str, Any]
) -> None:
    early = 0
    for seed in range(4):
        result = client.generate(
            PROMPT, schema=schema, max_tokens=100, seed=seed, temperature=1.0, max_attempts=1
        )
        if not result.closed_early:
            continue
        early += 1
        (attempt,) = result.attempts
        assert result.closed_early[0] == ""
        assert result.finish_reason is attempt.finish_reason is FinishReason.LENGTH
        kept = attempt.resumptions[0]
        assert kept.pointer == result.closed_early[-1]
        assert kept.kept_tokens <= 100
    assert early


@pytest.mark.any_model
def test_stream_goes_on_from_an_earlier_place(client: IRClient) -> None:
    text = b""
    rewinds = 0
    with client.stream(PROMPT, schema=LIST, max_tokens=60, temperature=0, max_attempts=1) as stream:
        for event in stream:
            match event:
                case TextDelta():
                    text += event.text.encode()
                    # The client's text is that of the events.
                    assert stream.text.encode() == text
                case Rewound():
                    rewinds += 1
                    assert event.reason is ResumptionReason.BUDGET
                    text = text[: event.to_bytes]
                    assert stream.text.encode() == text
                case Completed(result=result):
                    assert json.loads(text) == result.value
    assert rewinds


@pytest.mark.any_model
def test_same_seed_ends_early_in_the_same_way(client: IRClient) -> None:
    results = {
        client.generate(PROMPT, schema=LIST, max_tokens=60, temperature=0, seed=4).ir_json
        for _ in range(2)
    }
    assert len(results) == 1


@pytest.mark.any_model
def test_server_says_that_it_continues_texts(client: IRClient) -> None:
    assert client.health().resumes
