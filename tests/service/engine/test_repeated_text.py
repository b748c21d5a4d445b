"""Guesses by repetition: what is found is what really came after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genir_server.engine.repeated_text import RepeatedText


def test_the_last_repetition_counts() -> None:
    assert RepeatedText().continuation([1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 1, 2, 3], 2) == [6, 7]


def test_at_most_so_many_and_nothing_beyond_the_end() -> None:
    assert RepeatedText().continuation([1, 2, 3, 4, 1, 2, 3], 9) == [4, 1, 2, 3]
    assert RepeatedText().continuation([7, 7, 7, 7], 9) == [7]


def test_what_never_came_before_is_not_guessed() -> None:
    for tokens in ([], [1], [1, 2, 3], [1, 2, 3, 4, 1, 2]):
        assert RepeatedText().continuation(tokens, 4) == []


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(1, 5), max_size=20))
def test_told_bit_by_bit_it_finds_what_a_search_finds(text: list[int], steps: list[int]) -> None:
    repeated, length = RepeatedText(), 0
    for step in steps:
        length = min(length + step, len(text))
        seen = text[:length]
        expected: list[int] = []
        for end in range(3, length):
            if seen[end - 3 : end] == seen[-3:]:
                expected = seen[end : end + 4]
        assert repeated.continuation(seen, 4) == expected
