"""An analysis crosses from a worker process to the server unchanged, and cheaply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir_server.domain.errors import Reason
from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.analysis import Analysis, decode_reply, encode_reply
from genir_server.schema.errors import SchemaRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

texts = st.sampled_from(["", "{}", '{"a":1}', "\n", "ü\u2028", "\ud800"]) | st.text(max_size=9)
notices = st.builds(SchemaNotice, texts, texts, st.sampled_from(Enforcement), texts)
analyses = st.builds(
    Analysis,
    draft=st.sampled_from([4, 6, 7, 2019, 2020]),
    verifier_schema=st.none() | texts,
    verifier_patterns=st.lists(st.tuples(texts, texts), max_size=250).map(tuple),
    engine_schema=texts,
    relaxed_schema=texts,
    notices=st.lists(notices, max_size=250).map(tuple),
    shown_full=texts,
    shown_without_descriptions=texts,
    minimal_instance=st.none() | texts,
    min_tokens=st.integers(1, 99),
    closable_tokens=st.integers(0, 99),
    verifier_bytes=st.none() | st.integers(0, 9),
    node_seconds=st.floats(0, 1),
    byte_seconds=st.floats(0, 1),
    seconds=st.floats(0, 1),
    compile_seconds=st.floats(0, 1),
    max_mask_seconds=st.floats(0, 1),
    measured=st.dictionaries(texts, st.floats(0, 1), max_size=3),
)


@given(analyses)
def test_analysis_is_decoded_as_it_was(analysis: Analysis) -> None:
    assert decode_reply(encode_reply(analysis)) == analysis


def test_refusal_is_decoded_as_it_was() -> None:
    refusal = SchemaRefusedError(
        Reason.SCHEMA_TOO_COMPLEX, "too\nlong", pointer="/a", limit="nodes", max="1"
    )
    with pytest.raises(SchemaRefusedError, match="too\nlong") as raised:
        decode_reply(encode_reply(refusal))
    assert raised.value.reason is refusal.reason
    assert raised.value.metadata == refusal.metadata


def large(**changed: Any) -> Analysis:
    values: dict[str, Any] = {
        "draft": 2020,
        "verifier_schema": None,
        "verifier_patterns": (),
        "engine_schema": "{}",
        "relaxed_schema": "{}",
        "notices": (),
        "shown_full": "{}",
        "shown_without_descriptions": "{}",
        "minimal_instance": None,
        "min_tokens": 1,
        "closable_tokens": 2,
        "verifier_bytes": None,
        "node_seconds": 0.0,
        "byte_seconds": 0.0,
        "seconds": 0.0,
        "compile_seconds": 0.0,
        "max_mask_seconds": 0.0,
        "measured": {},
    }
    return Analysis(**values | changed)


def test_equal_texts_cross_once_and_without_escapes() -> None:
    text = '"\n' * 100_000
    body = encode_reply(large(engine_schema=text, relaxed_schema=text, shown_full=text))
    assert len(body) < len(text) + 1_000


def test_no_long_json_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing JSON holds the interpreter's lock, and with it the event loop."""
    notice = SchemaNotice("format", "/properties/a", Enforcement.CHECKED_AFTER_DECODING, "")
    analysis = large(
        notices=(notice,) * 10_000,
        verifier_patterns=(("^a$", "a"),) * 10_000,
        engine_schema="x" * 1_000_000,
        verifier_schema="é" * 1_000_000,
    )
    body = encode_reply(analysis)
    parsed: list[int] = []
    loads: Callable[[bytes], Any] = json.loads

    def counted(text: bytes) -> Any:
        parsed.append(len(text))
        return loads(text)

    monkeypatch.setattr(json, "loads", counted)
    assert decode_reply(body) == analysis
    assert sum(parsed) > 100_000
    assert max(parsed) < 32_768
