"""Guesses by repetition: what is found is what really came after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genir_server.engine.jump_forward.prompt_lookup import PromptLookup


def test_the_last_repetition_counts() -> None:
    assert PromptLookup().guess([1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 1, 2, 3], 2) == [6, 7]


def test_at_most_so_many_and_nothing_beyond_the_end() -> None:
    assert PromptLookup().guess([1, 2, 3, 4, 1, 2, 3], 9) == [4, 1, 2, 3]
    assert PromptLookup().guess([7, 7, 7, 7], 9) == [7]


def test_what_never_came_before_is_not_guessed() -> None:
    for tokens in ([], [1], [1, 2, 3], [1, 2, 3, 4, 1, 2]):
        assert PromptLookup().guess(tokens, 4) == []


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(1, 5), max_size=20))
def test_told_bit_by_bit_it_finds_what_a_search_finds(text: list[int], steps: list[int]) -> None:
    repeated, length = PromptLookup(), 0
    for step in steps:
        length = min(length + step, len(text))
        seen = text[:length]
        expected: list[int] = []
        for end in range(3, length):
            if seen[end - 3 : end] == seen[-3:]:
                expected = seen[end : end + 4]
        assert repeated.guess(seen, 4) == expected


def test_it_ventures_further_while_it_is_right_and_never_stops_trying() -> None:
    text = PromptLookup()
    tokens = [*range(30), 0, 1, 2]
    reaches = []
    for guessed, right in [(4, 4), (8, 8), (8, 4), (8, 3), (4, 0), (2, 0), (1, 0), (1, 1)]:
        text.learn(guessed, right)
        reaches.append(len(text.guess(tokens, 12)))
    assert reaches == [8, 8, 8, 4, 2, 1, 1, 2]
    assert text.guess(tokens, 1) == [3]


def test_of_a_very_long_prompt_the_end_is_remembered() -> None:
    beginning, end = [1, 2, 3, 4], [5, 6, 7, 8]
    prompt = [*beginning, *range(100, 10_000), *end]
    assert PromptLookup().guess([*prompt, 5, 6, 7], 1) == [8]
    assert PromptLookup().guess([*prompt, 1, 2, 3], 1) == []
