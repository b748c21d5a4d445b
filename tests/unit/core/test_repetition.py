"""Texts that repeat themselves without end are noticed, and no others."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from genir_server.core.repetition import (
    MIN_REPEATED_TOKENS,
    MIN_REPETITIONS,
    tokens_before_repetition,
)


@given(
    begin=st.lists(st.integers(0, 5), max_size=200),
    loop=st.lists(st.integers(6, 9), min_size=1, max_size=40),
    times=st.integers(MIN_REPETITIONS + 1, 90),
    rest=st.integers(0, 39),
)
def test_loop_is_cut_after_its_first_round(
    begin: list[int], loop: list[int], times: int, rest: int
) -> None:
    repeated = (loop * (times + 1))[: len(loop) * times + rest % len(loop)]
    kept = tokens_before_repetition(begin + repeated)
    if len(repeated) < MIN_REPEATED_TOKENS:
        assert kept is None
        return
    assert kept is not None
    # A loop may consist of smaller ones.
    assert len(begin) < kept <= len(begin) + len(loop)


@given(
    st.tuples(st.lists(st.integers(0, 1), max_size=9), st.integers(1, 400)).map(
        lambda few: few[0] * few[1]
    )
)
def test_what_it_says_is_true(tokens: list[int]) -> None:
    kept = tokens_before_repetition(tokens)
    if kept is not None:
        rest = len(tokens) - kept
        assert rest >= MIN_REPEATED_TOKENS * (1 - 1 / MIN_REPETITIONS)
        assert any(
            tokens[kept:] == tokens[kept - period : len(tokens) - period]
            for period in range(1, min(kept, 200) + 1)
        )


def test_ordinary_texts_do_not_repeat_themselves() -> None:
    numbers = random.Random(1)  # noqa: S311 - repeatable, not secret.
    # Rows alike but for one token in each, such as records of a table.
    for period in (2, 5, 20, 100):
        row = [numbers.randrange(1000) for _ in range(period)]
        rows = [
            token if at else 5000 + number for number in range(400) for at, token in enumerate(row)
        ]
        assert tokens_before_repetition(rows) is None
    assert tokens_before_repetition([0] * (MIN_REPEATED_TOKENS - 1)) is None
    assert tokens_before_repetition([0] * MIN_REPEATED_TOKENS) == 1
