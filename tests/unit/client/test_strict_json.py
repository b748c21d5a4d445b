from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genir import _strict_json
from genir_server.core.normalize import NotNormalizableError, normal_form

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("1" + "0" * 21, "1e+21"),
        ("-1" + "0" * 23, "-1e+23"),
        ("17976931348623157" + "0" * 292, "1.7976931348623157e+308"),
    ],
)
def test_all_digits_of_a_large_double_are_the_same_number(digits: str, number: str) -> None:
    assert _strict_json.same(_strict_json.read(f"[{digits}]"), _strict_json.read(f"[{number}]"))


@pytest.mark.parametrize("digits", ["1" * 22, "1000000000000000000001", "9" * 309, "9" * 5000])
def test_digits_that_a_double_does_not_keep_are_refused(digits: str) -> None:
    with pytest.raises(ValueError, match="which some readers round"):
        _strict_json.read(digits)


def server_form(text: str) -> str | None:
    """The normal form that the server writes of a text; None if it refuses the text."""
    try:
        return normal_form(text)
    except NotNormalizableError:
        return None


def is_accepted(reader: Callable[[str], object], text: str) -> bool:
    try:
        reader(text)
    except ValueError:
        return False
    return True


def assert_agrees_with_the_server(text: str) -> None:
    form = server_form(text)
    assert is_accepted(_strict_json.read, text) is (form is not None)
    assert is_accepted(_strict_json.read_normal_form, text) is (form == text)
    if form is not None:
        assert _strict_json.same(_strict_json.read_normal_form(form), _strict_json.read(text))


# Characters that a writer may escape, that sort differently by UTF-16, and plain ones.
TEXTS = st.text(st.sampled_from('ab /"\\\b\n\x00\x1f\x7f\u2028\ud7ff\ue000\ufb33\U0001f600'))
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(1e-8, 1e-3).map(repr),
    st.integers(-(2**53) - 3, 2**53 + 3).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,9})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXTS | NUMBERS.map(json.loads).filter(math.isfinite),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=1000)
@given(NUMBERS)
def test_normal_numbers_are_those_that_the_server_writes(number: str) -> None:
    assert_agrees_with_the_server(number)
    form = server_form(number)
    if form is not None:
        assert_agrees_with_the_server(f'{{"a":{form}}}')


@settings(max_examples=500)
@given(VALUES, st.booleans(), st.booleans(), st.sampled_from([(",", ":"), (", ", ":")]))
def test_normal_texts_are_those_that_the_server_writes(
    value: object, ascii_only: bool, sort: bool, separators: tuple[str, str]
) -> None:
    assert_agrees_with_the_server(
        json.dumps(value, ensure_ascii=ascii_only, sort_keys=sort, separators=separators)
    )


@settings(max_examples=500)
@given(VALUES, st.data())
def test_normal_text_with_one_change_is_normal_only_if_the_server_writes_it(
    value: object, data: st.DataObject
) -> None:
    form = server_form(json.dumps(value))
    assume(form is not None)
    assert form is not None
    place = data.draw(st.integers(0, len(form) - 1))
    character = form[place]
    changes = ["", character * 2, f"\\{character}", f" {character}", f"\\u{ord(character):04x}"]
    change = data.draw(st.sampled_from([*changes, "\\u00E9", "0", "-", ".0", "e0", "\t"]))
    assert_agrees_with_the_server(form[:place] + change + form[place + 1 :])


@settings(max_examples=500)
@given(st.text(alphabet='[]{}",:\\/u0dDcC89aA1eE+-.NInfinty \n', max_size=30))
def test_any_text_is_read_as_the_server_reads_it(text: str) -> None:
    assert_agrees_with_the_server(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 256 + "]" * 256,
        '{"\ufb33":1,"\U0001f600":2}',
        '{"\U0001f600":2,"\ufb33":1}',
        '{"\\ud83d":1,"a":2}',
        "9007199254740991.0",
        "9007199254740991.5",
        "999999999999999999999.9",
        "1" + "0" * 399,
        "0" + "." + "0" * 1_000_000,
    ],
    ids=lambda text: text[:20],
)
def test_edges_agree_with_the_server(text: str) -> None:
    assert_agrees_with_the_server(text)
