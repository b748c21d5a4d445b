"""Reads, measures and translates regular expressions, without a schema around them."""

from __future__ import annotations

import time

import jsonschema_rs
import pytest

from genir_server.schema.pattern.measure import max_repetition, states
from genir_server.schema.pattern.parse import is_pattern, parse
from genir_server.schema.pattern.syntax import PatternSyntaxError, PatternUnsupportedError
from genir_server.schema.pattern.translate import translate
from tests.support.pattern_examples import MEANINGS, NOT_ECMA_262, UNSUPPORTED


@pytest.mark.parametrize(("source", "message", "character"), NOT_ECMA_262)
def test_other_syntax_is_refused_with_its_place(source: str, message: str, character: int) -> None:
    with pytest.raises(PatternSyntaxError) as caught:
        parse(source)
    assert message in str(caught.value)
    assert str(caught.value).endswith(f"at character {character}")
    assert not is_pattern(source)


@pytest.mark.parametrize(("source", "matching", "other"), MEANINGS)
@pytest.mark.parametrize(
    "draft", [jsonschema_rs.Draft4Validator, jsonschema_rs.Draft202012Validator]
)
def test_translation_means_what_ecma_262_says(
    source: str, matching: list[str], other: list[str], draft: type[jsonschema_rs.Validator]
) -> None:
    translation = translate(source)
    validators = [
        draft({"pattern": translation.text}, pattern_options=jsonschema_rs.FancyRegexOptions())
    ]
    if translation.is_regular:
        validators.append(
            draft({"pattern": translation.text}, pattern_options=jsonschema_rs.RegexOptions())
        )
    for validator in validators:
        assert [text for text in matching if not validator.is_valid(text)] == []
        assert [text for text in other if validator.is_valid(text)] == []


@pytest.mark.parametrize(("source", "message", "character"), UNSUPPORTED)
def test_what_cannot_be_translated_is_refused_with_its_place(
    source: str, message: str, character: int
) -> None:
    with pytest.raises(PatternUnsupportedError, match=f"at character {character}") as caught:
        translate(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "source",
    ["^[a-z]{2,3}(?:a|b)+?$", r"\.\*\\x", "[A-Za-z0-9_.-]+@[^ ]", "é{1,2}(a)(b)", r"[\].\-]", ""],
)
def test_what_engines_read_alike_stays_as_it_is(source: str) -> None:
    assert translate(source).text == source


@pytest.mark.parametrize(
    "source", ["(" * 8_000, "(" * 4_000 + ")" * 4_000, "[" * 8_000, "(?:" * 2_000 + ")*" * 2_000]
)
def test_deep_nesting_does_not_exhaust_the_stack(source: str) -> None:
    assert not is_pattern(source)
    with pytest.raises((PatternSyntaxError, PatternUnsupportedError)):
        translate(source)


@pytest.mark.parametrize(
    "part", ["|", "()", "a*", r"\d", r"\1", "[a-b]", "(?<n{}>a)", "|(?<n>a)", r"\p{{L}}"]
)
def test_long_texts_are_read_in_linear_time(part: str) -> None:
    text = "(" * 90 + "".join(part.format(index) for index in range(200_000 // len(part)))
    start = time.process_time()
    is_pattern(text)
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("pattern", "repetition"),
    [
        ("abc", 1),
        ("a*b+c?", 1),
        ("a{7}", 7),
        ("a{2,9}b{3,}", 9),
        ("(a{5}b){6}", 30),
        ("(?:a|(b{2}){3}){4}", 24),
        (r"\{9}[{9}]", 1),
        (r"[a{99}]", 1),
        ("[]{50}]{2}", 50),
        (r"\({3}", 3),
        ("a{99999999999}", 999_999_999),
        ("a{0,000000000002}", 2),
    ],
)
def test_nested_repetitions_multiply(pattern: str, repetition: int) -> None:
    assert max_repetition(parse(pattern)) == repetition


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        ("", 1),
        ("abc", 3),
        ("(a{5}b){6}|c", 37),
        ("(?:ab){0}c*", 3),
        (".{9}", 90),
        (r"[^a]{9}\s{9}\D{9}", 270),
        (r"\p{L}{9}", 2_700),
    ],
)
def test_states_are_characters_with_repetitions_expanded(pattern: str, least: int) -> None:
    assert least <= states(parse(pattern)) <= 10 * least
