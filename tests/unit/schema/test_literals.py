from __future__ import annotations

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.relax.literals import all_strings_but, one_of

texts = st.text(st.sampled_from("ab\\.^$]-/é"), max_size=4)
several = st.lists(texts, min_size=1, max_size=4, unique=True)


def found(pattern: str, text: str) -> bool:
    return jsonschema_rs.Draft202012Validator({"pattern": pattern}).is_valid(text)


@settings(deadline=None)
@given(several, texts)
def test_all_strings_but_matches_exactly_the_others(excluded: list[str], text: str) -> None:
    assert found(all_strings_but(excluded), text) == (text not in excluded)


@settings(deadline=None)
@given(several, texts)
def test_one_of_matches_exactly_its_texts(allowed: list[str], text: str) -> None:
    assert found(one_of(allowed), text) == (text in allowed)


@settings(deadline=None, max_examples=30)
@given(several)
def test_grammar_compiler_accepts_both(some: list[str]) -> None:
    for pattern in (all_strings_but(some), one_of(some)):
        assert GrammarOracle().compiles({"type": "string", "pattern": pattern})
