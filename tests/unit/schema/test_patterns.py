"""Reads, measures and translates regular expressions, without a schema around them."""

from __future__ import annotations

import time

import jsonschema_rs
import pytest

from genir_server.schema.pattern.measure import max_repetition, states
from genir_server.schema.pattern.parse import is_pattern, parse
from genir_server.schema.pattern.syntax import PatternSyntaxError, PatternUnsupportedError
from genir_server.schema.pattern.translate import translate

# The text, a part of the message, and the character it names.
NOT_ECMA_262 = [
    ("(?i)a", "(?i) is not ECMA-262: put what it applies to into (?i:…)", 1),
    ("a(?x) b", "(?x) is not ECMA-262", 2),
    ("a++", "no second quantifier", 3),
    ("a**", "no second quantifier", 3),
    ("a{2}{3}", "no second quantifier", 5),
    (r"a\A", r"\A here is not an escape of ECMA-262: write ^", 2),
    (r"a\z", "write $", 2),
    (r"a\Z", "write $", 2),
    (r"\a", r"write \x07", 1),
    (r"\_\q", r"\q here is not an escape", 3),
    ("(?P<x>a)", "write (?<name>…)", 1),
    ("(?P=x)", r"write \k<name>", 1),
    ("(?#a)", "leave the comment out", 1),
    ("(?>a)", "write (?:…)", 1),
    ("(?<1>a)", "write a name", 1),
    ("(?'n'a)", "(?' is not ECMA-262", 1),
    ("(?i-i:a)", "is not ECMA-262", 1),
    ("(?-:a)", "is not ECMA-262", 1),
    (r"\x{41}", r"or \u{…}", 1),
    (r"\u{110000}", "10FFFF", 1),
    (r"\u12", "four hexadecimal digits", 1),
    (r"\pL", r"\p{Lu}", 1),
    (r"\p{Foo}", r"\p{Lu}", 1),
    (r"\p{Greek}", r"\p{Script=Greek}", 1),
    (r"[\P{letter}]", r"\P{Lu}", 2),
    (r"\b{end}", r"write \{", 3),
    (r"\b+", "a condition cannot be repeated", 3),
    ("(?=a)*", "a condition cannot be repeated", 6),
    ("a{,3}", "write {0,…}", 2),
    ("a{3,2}", "out of order", 2),
    ("a{10,9}", "out of order", 2),
    ("{", r"write \{", 1),
    ("a|*", r"nothing to repeat: write \*", 3),
    ("[[:alpha:]]", r"no class inside: write \[", 11),
    ("[a-z&&[^aeiou]]", "no class inside", 15),
    ("[a--b]", "out of order", 2),
    (r"[z-\x61]", "out of order", 2),
    ("[a", "no closing bracket", 1),
    (r"[a\]", "no closing bracket", 1),
    ("a(b(c)", "not closed", 2),
    ("a)", r"write \)", 2),
    ("a\\", "last character", 2),
    (r"\01", r"write \x", 1),
    (r"[\1]", r"write \x", 2),
    (r"(a)\2", "no group 2", 4),
    (r"\c1", "a letter", 1),
    (r"\k<n>", "no group is named n", 1),
    (r"(?<n>a)\kn", r"write \k<name>", 8),
    ("(?<n>a)(?<n>b)", "the same name", 8),
]

# The expression, texts that it matches, and texts that it does not match.
MEANINGS = [
    ("^.$", ["a", "\u0085", "\U0001f600"], ["\n", "\r", "\u2028", "\u2029", "ab"]),
    ("^(?s:.)$", ["\n", "\r", "\u2028"], [""]),
    (r"^\d$", ["7"], ["٣", "x"]),
    (r"^[\D]$", ["٣"], ["7"]),
    (r"^\w$", ["k", "_", "0"], ["é", "\u017f", "\u212a", "-"]),
    (r"^(?i:\w)$", ["k", "\u017f", "\u212a"], ["é"]),
    (r"^[\W]$", ["é", "\u017f"], ["k"]),
    (r"^(?i:[\W])$", ["é"], ["k", "\u017f"]),
    (r"^\s$", ["\ufeff", "\u2003", "\u3000", "\v"], ["\u0085", "\u200b"]),
    (r"^\S$", ["\u0085", "\u200b"], ["\ufeff", "\u2029"]),
    (r"^é\b", ["éa"], ["é", "é "]),
    (r"^\Bé\B", ["é", "éé"], ["éa"]),
    (r"^\b\b$|^a(?:\b)*b$", ["ab"], ["a b", ""]),
    ("a$", ["ba"], ["a\n", "ab"]),
    ("^a", ["ab"], ["\na"]),
    ("(?m:^a$)", ["a", "b\u2028a", "\ra\n"], ["ba", "ab"]),
    (r"^(a)?\1$", ["", "aa"], ["a"]),
    (r"^(?:(a)|b)\1c$", ["bc", "aac"], ["ac"]),
    (r"^(?:(?<x>a)|b)\k<x>0$", ["b0", "aa0"], ["a0"]),
    (r"^\1(a)$", ["a"], ["aa"]),
    (r"^(a\1)$", ["a"], ["aa"]),
    (r"^(?:(a|b)\1)+$", ["aabb"], ["ab"]),
    (r"^(?!(a)b)a\1$", ["a"], ["aa", "ab"]),
    (r"^(?=(a+))\1b$", ["aab"], ["aa"]),
    (r"^(a)(b)?(c)\3\2d$", ["accd", "abccbd"], ["acd", "abccd"]),
    (r"^\0$", ["\0"], ["0", ""]),
    ("^[^]$", ["\n", "a"], ["", "ab"]),
    ("^[]?$", [""], ["]", "a"]),
    (r"^[\b]$", ["\b"], ["b"]),
    (r"^(?<name>a|b)\k<name>$", ["aa"], ["ab"]),
    (r"^(?<\u0061>a|b)\k<a>$", ["aa"], ["ab"]),
    (r"^\uD83D\uDE00$", ["\U0001f600"], [""]),
    (r"^[\uD83D\uDE00-\uD83D\uDE02]$", ["\U0001f601"], ["\U0001f603"]),
    (r"^\u{1F600}$", ["\U0001f600"], []),
    (r"^\uD83D?a$", ["a"], ["\U0001f600a"]),
    (r"^[\uD800-\uDFFF]$", [], ["\U0001f600", "a"]),
    (r"^[^\uD800-\uDFFF]$", ["\U0001f600", "a"], []),
    (r"^[\0-\uFFFF]$", ["a", "\uffff"], ["\U0001f600"]),
    (r"^\p{Cs}$", [], ["a"]),
    (r"^[\P{Cs}]$", ["a"], []),
    (r"^\cJ[\cj]$", ["\n\n"], ["cJ"]),
    (r"^\/\-\_\@\ \<\"$", ['/-_@ <"'], []),
    (r"^[\w-.]$", ["-", "a", "."], ["/"]),
    (r"^a]b}$", ["a]b}"], []),
    ("^[a~~b]$", ["~"], ["~~"]),
    ("^[a-z&&aeiou]$", ["b", "&"], []),
    ("^[]a]$", [], ["a", "]"]),
    ("^[[^]$", ["[", "^"], ["a"]),
    (r"^\p{Script=Greek}\p{Lu}$", ["λA"], ["Aλ"]),
    ("^(?:)*a$", ["a"], [""]),
    ("^(?:(?=a)){2}a$", ["a"], ["b"]),
    ("(?<=a+b)c", ["aabc"], ["bc"]),
    ("(?<!a|bc)d", ["d", "cd"], ["ad", "bcd"]),
    ("^(?i:straße)$", ["STRAßE", "\u017ftraße"], ["STRASSE"]),
    ("^(?i:a(?-i:b))$", ["Ab"], ["AB"]),
]

UNSUPPORTED = [
    (r"(?:(a)|b)*\1", "a group inside a repetition", 11),
    (r"(?:(a)?b\1)+", "that may take no part", 9),
    (r"(?:(?=(a))b?)?\1", "inside an optional part", 15),
    (r"(?<=(a))\1", "look-behind", 9),
    (r"(?:(?<n>a)|(?<n>b))\k<n>", "the same name", 20),
    (r"(a)(?i:\1)", "case is ignored", 8),
    (r"(?i:\P{Lu})", r"[^\p{…}]", 5),
    (r"a\p{Script=Zzzz}", "property", 2),
    ("a" + "(" * 101 + ")" * 101, "more than 100 parentheses", 102),
]


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
