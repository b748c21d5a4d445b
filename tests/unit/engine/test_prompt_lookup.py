"""Prompt lookup drafts what really followed the same tokens earlier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genir_server.engine.jump_forward.prompt_lookup import PromptLookup


def test_latest_occurrence_wins() -> None:
    assert PromptLookup().draft([1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 1, 2, 3], 2) == [6, 7]


def test_draft_ends_at_its_limit_or_at_the_end_of_the_text() -> None:
    assert PromptLookup().draft([1, 2, 3, 4, 1, 2, 3], 9) == [4, 1, 2, 3]
    assert PromptLookup().draft([7, 7, 7, 7], 9) == [7]


def test_no_earlier_occurrence_gives_no_draft() -> None:
    for tokens in ([], [1], [1, 2, 3], [1, 2, 3, 4, 1, 2]):
        assert PromptLookup().draft(tokens, 4) == []


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(1, 5), max_size=20))
def test_incremental_index_equals_a_full_search(text: list[int], steps: list[int]) -> None:
    lookup, length = PromptLookup(), 0
    for step in steps:
        length = min(length + step, len(text))
        seen = text[:length]
        expected: list[int] = []
        for end in range(3, length):
            if seen[end - 3 : end] == seen[-3:]:
                expected = seen[end : end + 4]
        assert lookup.draft(seen, 4) == expected


def test_draft_length_follows_acceptance_between_one_and_eight() -> None:
    lookup = PromptLookup()
    tokens = [*range(30), 0, 1, 2]
    lengths = []
    for drafted, accepted in [(4, 4), (8, 8), (8, 4), (8, 3), (4, 0), (2, 0), (1, 0), (1, 1)]:
        lookup.record(drafted, accepted)
        lengths.append(len(lookup.draft(tokens, 12)))
    assert lengths == [8, 8, 8, 4, 2, 1, 1, 2]
    assert lookup.draft(tokens, 1) == [3]


def test_only_the_end_of_a_very_long_prompt_is_indexed() -> None:
    beginning, end = [1, 2, 3, 4], [5, 6, 7, 8]
    prompt = [*beginning, *range(100, 10_000), *end]
    assert PromptLookup().draft([*prompt, 5, 6, 7], 1) == [8]
    assert PromptLookup().draft([*prompt, 1, 2, 3], 1) == []
