"""Regular expressions against `regress`, an engine for ECMA-262 that shares no code with ours."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.pattern.parse import is_pattern
from genir_server.schema.pattern.syntax import PatternSyntaxError, PatternUnsupportedError
from genir_server.schema.pattern.translate import Translation, translate
from tests.support.patterns import PATTERNS, SCRAPS, TEXTS
from tests.support.regress_process import GaveUpError, RegressProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOKENIZER = load_tokenizer(None)
# What the dialect has beyond the flag `u`: escapes of signs, closing brackets, hyphens beside \w.
BEYOND_FLAG_U = re.compile(r"\\[^A-Za-z0-9^$\\.*+?()\[\]{}|/]|[\]}]|\[.*-", re.DOTALL)
# A known fault of regress: where case is ignored, a class with \W has s, k, U+017F and U+212A, too.
# Node says that it has none of them.
CLASS_WITH_NO_WORD = re.compile(r"\[(?:[^\]\\]|\\.)*\\W", re.DOTALL)
FOLDED_WORDS = re.compile("[sSkK\u017f\u212a]")

REFERENCE = RegressProcess()


@pytest.fixture(scope="module", autouse=True)
def _end_reference() -> Iterator[None]:
    yield
    REFERENCE.close()


def reference(pattern: str, texts: Sequence[str] = ()) -> list[bool] | None:
    """Which texts the pattern matches; None if it is not ECMA-262."""
    try:
        return REFERENCE.matches(pattern, texts)
    except GaveUpError:
        reject()


def translated(pattern: str) -> Translation | None:
    try:
        return translate(pattern)
    except (PatternSyntaxError, PatternUnsupportedError):
        return None


def verifier_matches(translation: Translation, text: str) -> bool:
    try:
        # Draft 7 checks the expression itself, too.
        validator = jsonschema_rs.Draft7Validator(
            {"pattern": translation.text},
            pattern_options=(
                jsonschema_rs.RegexOptions()
                if translation.is_regular
                else jsonschema_rs.FancyRegexOptions()
            ),
        )
    except jsonschema_rs.ValidationError:
        # Rust's engine refuses a few look-behinds, and then the schema is refused.
        assert not translation.is_regular
        reject()
    return validator.is_valid(text)


def engine_matches(translation: Translation, text: str) -> bool | None:
    """Whether the grammar engine accepts a text; None if it refuses the expression."""
    schema = json.dumps({"type": "string", "pattern": translation.text})
    matcher = compile_matcher(TOKENIZER, schema)
    if matcher.get_error():
        return None
    written = json.dumps(text, ensure_ascii=False).encode()
    read = matcher.try_consume_tokens(list(written))
    return bool(read == len(written) and matcher.is_accepting())


@settings(max_examples=600, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=5))
def test_verifier_matches_as_ecma_262_says(pattern: str, texts: list[str]) -> None:
    assume(
        not (
            "(?i:" in pattern
            and CLASS_WITH_NO_WORD.search(pattern)
            and FOLDED_WORDS.search("".join(texts))
        )
    )
    expected, translation = reference(pattern, texts), translated(pattern)
    assume(expected is not None and translation is not None)
    assert translation is not None
    assert [verifier_matches(translation, text) for text in texts] == expected


@pytest.mark.parametrize("text", list("sSkK\u017f\u212a"))
def test_class_of_no_word_characters_where_case_is_ignored(text: str) -> None:
    pattern = r"(?i:[\W_])"
    translation = translated(pattern)
    assert translation is not None
    assert not verifier_matches(translation, text)
    # Once this fails, regress is mended, and the property above needs no assumption.
    assert reference(pattern, [text]) == [True]


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=3))
def test_engine_matches_as_the_verifier_does(pattern: str, texts: list[str]) -> None:
    translation = translated(pattern)
    assume(translation is not None and translation.is_regular)
    assert translation is not None
    for text in texts:
        assert engine_matches(translation, text) in (None, verifier_matches(translation, text))


@settings(max_examples=2_000, deadline=None)
@given(SCRAPS | PATTERNS)
def test_syntax_is_that_of_the_flag_u_and_little_more(text: str) -> None:
    if reference(text) is not None:
        assert is_pattern(text)
    elif is_pattern(text):
        assert BEYOND_FLAG_U.search(text)
        translation = translated(text)
        assert translation is None or reference(translation.text) is not None
