"""Patterns, formats and lengths for one text: the engine writes all that the schema allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from genir_server.domain.types import Enforcement
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pattern.lengths import text_lengths
from genir_server.schema.pattern.samples import samples
from genir_server.schema.pattern.translate import translate
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.patterns import PATTERNS

if TYPE_CHECKING:
    from genir_server.schema.analysis import Analysis

BYTES_PER_MASK = 8
TOKENIZER = load_tokenizer(None)
# A busy machine must not decide.
LIMITS = SchemaLimits(compile_seconds=60, mask_seconds=60)
NARROWING = Pipeline(TOKENIZER, LIMITS, NarrowingBounds())
PLAIN = Pipeline(TOKENIZER, LIMITS, NarrowingBounds(enabled=False))
WORDS = r"^(?:\S+\s+){0,49}\S+$"
SENTENCES = r"^(?:[A-Z][^.!?]*[.!?]\s*){1,5}$"
LISTED = r"^(?:[^,]+,){0,20}[^,]+$"
SIMPLE = r"^[a-z][a-z0-9_]*$"
ADDRESS = r"^[a-z0-9.]+@[a-z0-9-]+\.[a-z]+$"
LENGTHS: list[dict[str, int]] = [
    {},
    {"maxLength": 20},
    {"maxLength": 500},
    {"maxLength": 2_000},
    {"minLength": 5},
    {"minLength": 150},
    {"minLength": 50, "maxLength": 600},
]


def engine_writes(schema: str, text: str) -> bool:
    """Whether the engine writes a text, with masks on the way as when it decodes."""
    matcher = compile_matcher(TOKENIZER, schema)
    assert not matcher.get_error()
    written = list(json.dumps(text, ensure_ascii=False).encode())
    for start in range(0, len(written), BYTES_PER_MASK):
        matcher.compute_bitmask()
        part = written[start : start + BYTES_PER_MASK]
        if matcher.try_consume_tokens(part) < len(part):
            return False
    return bool(matcher.is_accepting())


def verifier_of(text: str, analysis: Analysis) -> SchemaVerifier:
    return SchemaVerifier(
        analysis.verifier_schema or text, Draft(analysis.draft), analysis.verifier_patterns
    )


def check(schema: dict[str, Any], texts: list[str]) -> None:
    """Asserts that no valid text is lost, and that one can be written with bounds on the output."""
    text = json.dumps(schema)
    plain, narrowing = PLAIN.analyse(text), NARROWING.analyse(text)
    verifier = verifier_of(text, plain)
    valid = [value for value in texts if verifier.is_valid(value)]
    lost = [value for value in valid if not engine_writes(plain.engine_schema, value)]
    assert lost == []
    # A bound may rule out long texts, and must not stop the engine in a short one.
    short = [value for value in valid if len(value) <= 100]
    if short:
        assert any(engine_writes(narrowing.engine_schema, value) for value in short)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("pattern", [WORDS, SENTENCES, LISTED, SIMPLE, ADDRESS, "[a-z]", r"\S$"])
def test_no_text_is_lost_where_a_pattern_stands_beside_lengths(
    pattern: str, lengths: dict[str, int]
) -> None:
    low, high = lengths.get("minLength", 0), lengths.get("maxLength", 700)
    texts = samples(pattern, low, min(high, 700), 21)
    assert texts
    check({"type": "string", "pattern": pattern, **lengths}, texts)
    check({"type": "string", "allOf": [{"pattern": pattern}, lengths]}, texts[:7])


def test_the_tenth_word_can_be_written() -> None:
    schema = {"type": "string", "pattern": WORDS, "maxLength": 500}
    words = " ".join("a" * 50)
    text = json.dumps(schema)
    for pipeline in (PLAIN, NARROWING):
        analysis = pipeline.analyse(text)
        assert engine_writes(analysis.engine_schema, words)
        checked = [
            n.pointer
            for n in analysis.notices
            if n.enforcement is Enforcement.CHECKED_AFTER_DECODING
        ]
        assert checked == ["/maxLength"]
    del schema["maxLength"]
    analysis = NARROWING.analyse(json.dumps(schema))
    assert engine_writes(analysis.engine_schema, words)
    assert analysis.notices == ()


def test_several_patterns_for_one_text_are_not_lost() -> None:
    for patterns in ([WORDS, "^a", "e$"], [SIMPLE, "_", "[0-9]$"], [ADDRESS, r"\.com$"]):
        parts = [{"pattern": pattern} for pattern in patterns]
        texts = ["apple juice e", "a_b_1", "a.b@c-d.com", " ".join(["apple"] * 40), "a" * 90 + "_1"]
        check({"type": "string", "allOf": parts}, texts)
        check({"type": "string", "allOf": parts, "maxLength": 300}, texts)


@pytest.mark.parametrize("keyword", ["patternProperties", "propertyNames"])
@pytest.mark.parametrize("pattern", [WORDS, SENTENCES, SIMPLE])
def test_names_are_not_lost(keyword: str, pattern: str) -> None:
    rest = {"type": "integer"}
    schema: dict[str, Any] = {"type": "object", "additionalProperties": rest}
    if keyword == "patternProperties":
        schema["patternProperties"] = {pattern: {"type": "boolean"}}
    else:
        schema["propertyNames"] = {"pattern": pattern, "maxLength": 300}
    text = json.dumps(schema)
    analysis = PLAIN.analyse(text)
    verifier, tried = verifier_of(text, analysis), 0
    for name in [*samples(pattern, 0, 300, 14), "  ", ", ,", "-" * 200, "A b. ! c"]:
        for value in (True, 1):
            if verifier.is_valid({name: value}):
                tried += 1
                written = f"{{{json.dumps(name, ensure_ascii=False)}:{json.dumps(value)}}}"
                matcher = compile_matcher(TOKENIZER, analysis.engine_schema)
                assert matcher.try_consume_tokens(list(written.encode())) == len(written.encode())
                assert matcher.is_accepting()
    assert tried


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uuid", "123e4567-e89b-42d3-a456-426614174000"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000"),
        ("ipv4", "192.168.0.1"),
        ("ipv6", "2001:db8::1"),
        ("uri", "https://example.com/a/b?c=d#e"),
        ("date", "2024-02-29"),
        ("date-time", "2024-02-29T12:30:00Z"),
        ("time", "12:30:00Z"),
        ("email", "ab.cd@example.com"),
        ("hostname", "www.example.com"),
        ("duration", "P1Y2M3DT4H5M6S"),
        ("json-pointer", "/a/b"),
        ("ipv4network", "10.0.0.0/8"),
    ],
)
def test_formats_can_be_written_beside_lengths_and_patterns(name: str, text: str) -> None:
    for beside in ({"maxLength": 60}, {"minLength": 3}, {"pattern": "[0-9a-z]"}):
        check({"type": "string", "format": name, **beside}, [text])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(PATTERNS, min_size=1, max_size=2),
    st.integers(0, 12),
    st.integers(0, 40) | st.none(),
    st.booleans(),
)
def test_no_text_of_random_patterns_is_lost(
    patterns: list[str], low: int, more: int | None, anchored: bool
) -> None:
    sources = [f"^(?:{source})$" if anchored else source for source in patterns]
    schema: dict[str, Any] = {"type": "string", "minLength": low}
    if more is not None:
        schema["maxLength"] = low + more
    schema["allOf"] = [{"pattern": source} for source in sources]
    try:
        PLAIN.analyse(json.dumps(schema))
        texts = samples(sources[0], low, low + (40 if more is None else more), 14)
        check(schema, texts)
    except SchemaRefusedError as refusal:
        assume(refusal.reason.value == "never")


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.booleans())
def test_lengths_of_a_pattern_hold_for_its_texts(pattern: str, anchored: bool) -> None:
    source = f"^(?:{pattern})$" if anchored else pattern
    try:
        form = translate(source).text
        verifier = SchemaVerifier(json.dumps({"pattern": form}), Draft.DRAFT202012)
    except Exception:  # noqa: BLE001 - not every random pattern is one
        assume(False)
    low, high = text_lengths(source)
    for text in [*samples(source, 0, 60, 14), "", "a", "ab", "\n", "x" * 30]:
        if verifier.is_valid(text):
            assert low <= len(text)
            assert high is None or len(text) <= high
