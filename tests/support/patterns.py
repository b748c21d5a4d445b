"""Hypothesis strategies for regular expressions of ECMA-262 and for texts they may match."""

from __future__ import annotations

from hypothesis import strategies as st

# Texts on which engines disagree: line ends, spaces, letters outside ASCII and beyond 16 bits.
_CHARACTERS = "ab_-0K &~[]}\r\n\u2028\u2029\u0085\ufeff\u00a0\x08\x00\u017f\u212aéλ٣\U0001f600"

TEXTS = st.text(st.sampled_from(_CHARACTERS), max_size=6)

_LITERALS = st.sampled_from([*"ab_-0k &~é\u2028\U0001f600", r"\.", r"\/", r"\[", r"\\"])
_ESCAPES = st.sampled_from(
    [
        *(rf"\{letter}" for letter in "dDwWsSnrtfv0"),
        *(r"\cJ", r"\x61", r"\u0061", r"\u{1F600}", r"\uD83D\uDE00", r"\p{L}"),
        *(r"\P{Lu}", r"\p{Script=Greek}", r"\p{Nd}"),
    ]
)
_ATOMS = _LITERALS | _ESCAPES
_IN_CLASS = st.sampled_from(
    [
        *(*"ab_0 &~[é", "&&", "~~", "a-k", "0-9", r"\b", r"\-", r"\x00-\x1F", r"\uD83D\uDE00"),
        *(r"\u0080-\uFFFF", r"\uD800-\uDFFF", "^", r"\]"),
    ]
)


@st.composite
def _classes(draw: st.DrawFn) -> str:
    items = "".join(draw(st.lists(_IN_CLASS | _ESCAPES, max_size=4)))
    negation = draw(st.sampled_from(["", "^"]))
    return f"[{negation}{items}{draw(st.sampled_from(['', '-']))}]"


def _extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    headers = ["(", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?s:", "(?m:", "(?-i:"]
    groups = st.builds(lambda header, body: f"{header}{body})", st.sampled_from(headers), inner)
    quantifiers = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,3}?", "*?"])
    return (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | groups
        | st.builds(lambda body, sign: f"(?:{body}){sign}", inner, quantifiers)
        | st.builds(lambda body, sign: f"({body}){sign}", inner, quantifiers)
        | st.builds(lambda atom, sign: atom + sign, _ATOMS | _classes(), quantifiers)
        | st.lists(inner | st.just(""), min_size=2, max_size=3).map("|".join)
    )


PATTERNS = st.recursive(
    _ATOMS
    | _classes()
    | st.sampled_from([".", "^", "$", r"\b", r"\B", r"\1", r"\2", r"\k<g>", "(?<g>a)"]),
    _extended,
    max_leaves=10,
)
"""Most of them are valid; back-references may have no group."""

SCRAPS = st.lists(
    st.sampled_from(
        [
            *r"ab0-^$\.*+?()[]{}|/,:=!<>&",
            *("(?", "(?:", "(?<", "(?i", "(?P<", r"\p{", r"\u{", r"\x", r"\k<", "{2", "{2,", "[^"),
            *(r"\A", r"\z", r"\c", "L}", "61", "a>", "-", "i:", "]]", "++"),
        ]
    ),
    max_size=7,
).map("".join)
"""Texts that are often not regular expressions."""
