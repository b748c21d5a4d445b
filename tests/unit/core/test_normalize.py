"""Strict reading and the normal form."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from genir_server.core.normalize import (
    MAX_DEPTH,
    JSONValue,
    NotNormalizableError,
    NotNormalizableKind,
    normal_form,
    normalize,
    parse_strict,
)
from genir_server.domain.digest import digest
from genir_server.domain.numbers import MAX_INTEGER

if TYPE_CHECKING:
    import random

# Text that UTF-8 can hold: everything but halves of surrogate pairs.
texts = st.text(st.characters(codec="utf-8"))
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
reals = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not MAX_INTEGER < abs(number) < 1e21
)
values: st.SearchStrategy[JSONValue] = st.recursive(
    st.none() | st.booleans() | integers | reals | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


def refusal(text: str) -> NotNormalizableError:
    with pytest.raises(NotNormalizableError) as caught:
        parse_strict(text)
    return caught.value


def shuffled(value: JSONValue, rng: random.Random) -> JSONValue:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    if isinstance(value, list):
        return [shuffled(element, rng) for element in value]
    return value


@given(values)
def test_normal_form_parses_to_an_equal_value(value: JSONValue) -> None:
    assert parse_strict(normalize(value)) == value


@given(values)
def test_normalizing_is_idempotent(value: JSONValue) -> None:
    once = normalize(value)
    assert normalize(parse_strict(once)) == once


@given(
    values,
    st.randoms(use_true_random=False),
    st.sampled_from([None, 1, 3, "\t", "\r\n "]),
    st.sampled_from([(",", ":"), (" , ", ": "), ("\n,", "\t:\r")]),
    st.booleans(),
)
def test_whitespace_key_order_and_escapes_do_not_matter(
    value: JSONValue,
    rng: random.Random,
    indent: int | str | None,
    separators: tuple[str, str],
    ascii_only: bool,
) -> None:
    text = json.dumps(
        shuffled(value, rng), indent=indent, separators=separators, ensure_ascii=ascii_only
    )
    assert normalize(parse_strict(f" {text}\n")) == normalize(value)


@given(values)
def test_normal_form_is_rfc_8785(value: JSONValue) -> None:
    text = normalize(value)
    assert text.encode() == rfc8785.dumps(value)
    assert json.loads(text) == value


@given(values)
def test_text_is_normalized(value: JSONValue) -> None:
    text = json.dumps(value)
    assert normal_form(text) == normalize(parse_strict(text))
    # What is read back from it needs no strictness any more.
    assert json.loads(normal_form(text)) == parse_strict(normal_form(text))


# Names in ASCII, whole numbers only: what Python's own writer may write.
plain_values: st.SearchStrategy[JSONValue] = st.recursive(
    st.none() | st.booleans() | integers | texts,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(plain_values)
def test_json_module_writes_rfc_8785(value: JSONValue) -> None:
    assert normalize(value).encode() == rfc8785.dumps(value)


def test_every_character_that_is_escaped_is_escaped_in_the_same_way() -> None:
    text = "".join(map(chr, range(0xD800))) + "\ue000\ufeff\uffff\U0001f600"
    subjects: list[JSONValue] = [text, {"a": text}, {text: [1.5]}, [1.5, text, {}, []]]
    for value in subjects:
        assert normalize(value).encode() == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-0", "0"),
        ("-0.0", "0"),
        ("-0e5", "0"),
        ("0e-999", "0"),
        ("1.0", "1"),
        ("1E2", "100"),
        ("1e21", "1e+21"),
        ("6.02214076e23", "6.02214076e+23"),
        ("5e-324", "5e-324"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991", "-9007199254740991"),
        ('"\\u0041\\/\\ud83d\\ude00"', '"A/😀"'),
        ('"\\u2028"', '"\u2028"'),
        ('{"b":1,"a":{"d":[ ],"c":null}}', '{"a":{"c":null,"d":[]},"b":1}'),
        # Sorted by UTF-16 units: the emoji's first one is below U+FB33.
        ('{"\\ufb33":1,"\\ud83d\\ude00":2}', '{"😀":2,"\ufb33":1}'),
    ],
)
def test_known_normal_forms(text: str, expected: str) -> None:
    assert normalize(parse_strict(text)) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"a":1,"a":1}', "same key twice"),
        ('{"a":1,"\\u0061":"x"}', "same key twice"),
        ('[{"k":{"é":1,"\\u00e9":2}}]', "same key twice"),
        ("1e999", "range of a double"),
        ('{"a":[-1e999]}', "range of a double"),
        ("1e-999", "close to zero"),
        ("-0.00012e-400", "close to zero"),
        ("9007199254740992", "integer"),
        ("-9007199254740992", "integer"),
        ("9" * 40, "integer"),
        ("[-" + "9" * 10_000 + "]", "integer"),
        ("9007199254740992.0", "integer"),
        ("1e20", "integer"),
        ('"\\ud800"', "surrogate"),
        ('"\\ude00\\ud83d"', "surrogate"),
        ('{"\\ud800":1}', "surrogate"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "deep"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "deep"),
    ],
)
def test_json_without_a_normal_form_is_refused(text: str, part: str) -> None:
    error = refusal(text)
    assert error.kind is NotNormalizableKind.NO_NORMAL_FORM
    assert part in error.message
    assert str(error) == error.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        '{"a":',
        '{"a":1',
        '{"a":"b',
        '"a\\',
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        "[1] [2]",
        '{"a":1}x',
        "01",
        "+1",
        ".5",
        "1.",
        "NaN",
        "[Infinity]",
        "-Infinity",
        '"a\nb"',
        "\ufeff{}",
        "\u00a01",
        "// 1",
        "tru",
        # Cut text is reported as cut, whatever else is wrong with it.
        '{"a":1,"a":2,"b":{"c":1e999,"c":1},',
        "[" * 100_000,
        '{"a":[' * 50_000 + '"[',
        "[" * (MAX_DEPTH + 1) + '"' + "]" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_not_one_complete_json_value_is_refused_as_that(text: str) -> None:
    assert refusal(text).kind is NotNormalizableKind.NOT_JSON


@given(values.filter(lambda value: isinstance(value, (dict, list, str))), st.data())
def test_every_prefix_of_a_text_is_not_json(value: JSONValue, data: st.DataObject) -> None:
    text = normalize(value)
    cut = data.draw(st.integers(0, len(text) - 1))
    assert refusal(text[:cut]).kind is NotNormalizableKind.NOT_JSON


@given(st.text())
def test_any_text_is_parsed_or_refused_with_one_exception_type(text: str) -> None:
    try:
        value = parse_strict(text)
    except NotNormalizableError as error:
        assert error.message  # noqa: PT017 - either outcome is right
    else:
        assert parse_strict(normalize(value)) == value


@pytest.mark.parametrize(
    ("digits", "form"),
    [
        ("1" + "0" * 21, "1e+21"),
        ("-1" + "0" * 23, "-1e+23"),
        ("1234567890123456" + "0" * 9, "1.234567890123456e+24"),
        ("17976931348623157" + "0" * 292, "1.7976931348623157e+308"),
    ],
)
def test_integer_that_a_double_keeps_has_an_exponent(digits: str, form: str) -> None:
    assert normal_form(digits) == form
    assert float(form) == float(digits)
    assert normal_form(form) == form


@pytest.mark.parametrize(
    "digits",
    ["1" * 22, "1" + "0" * 20 + "1", "1" + "0" * 20, "9" * 309, "1" + "0" * 309, "9" * 5000],
)
def test_integer_that_a_double_does_not_keep_is_refused(digits: str) -> None:
    assert refusal(digits).kind is NotNormalizableKind.NO_NORMAL_FORM


@given(st.integers(MAX_INTEGER + 1, 10**21 - 1), st.booleans())
def test_integers_that_readers_round_are_refused_in_any_spelling(
    integer: int,
    negative: bool,
) -> None:
    number = -integer if negative else integer
    assert refusal(f"[{number}]").kind is NotNormalizableKind.NO_NORMAL_FORM
    with pytest.raises(NotNormalizableError, match="integer"):
        normalize([number])


def test_max_nesting_is_accepted() -> None:
    for text in (
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        '{"[{":' * MAX_DEPTH + '"]}"' + "}" * MAX_DEPTH,
    ):
        assert normalize(parse_strict(text)) == text


def test_brackets_in_strings_are_not_nesting() -> None:
    text = json.dumps(["[" * 1000, '\\"' + "{" * 1000])
    assert normalize(parse_strict(text)) == text.replace(", ", ",")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e20, float(2**53), 2**53])
def test_values_made_elsewhere_are_checked_too(number: float) -> None:
    with pytest.raises(NotNormalizableError):
        normalize({"a": [number]})


def test_value_with_too_deep_nesting_is_refused() -> None:
    value: JSONValue = 1
    for _ in range(100_000):
        value = [value]
    try:
        with pytest.raises(NotNormalizableError, match="deep"):
            normalize(value)
    finally:
        # Taken apart by hand: freeing it whole recurses.
        while isinstance(value, list):
            value = value.pop()


def test_messages_quote_nothing_of_the_text() -> None:
    for text in ('{"secret":1,"secret":2}', '{"secret"', '"secret" secret', "[secret]"):
        assert "secret" not in refusal(text).message


def test_digest_covers_the_utf_8_bytes() -> None:
    assert digest("é") == f"sha256:{hashlib.sha256(bytes([0xC3, 0xA9])).hexdigest()}"
