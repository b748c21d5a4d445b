from __future__ import annotations

import pytest

from bench.jump_forward.near_ties import Written, gap


def written(*places: dict[int, float]) -> Written:
    """An answer that took the first token at each position."""
    return Written(tuple(next(iter(place)) for place in places), places)


def test_gap_is_taken_at_the_first_difference() -> None:
    one = written({1: -0.1, 2: -3.0}, {3: -0.7, 4: -0.75}, {5: -0.1})
    other = written({1: -0.1, 2: -3.0}, {4: -0.71, 3: -0.72}, {6: -9.0})
    assert gap(one, other) == pytest.approx(0.05)


def test_figures_of_the_other_answer_are_used_where_the_first_has_none() -> None:
    assert gap(written({1: -0.5}), written({2: -0.625})) == pytest.approx(0.125)


def test_equal_answers_have_no_gap() -> None:
    assert gap(written({1: -0.1}), written({1: -0.1})) is None
    assert gap(written({1: -0.1}), written({1: -0.1}, {2: -0.2})) is None, "one was cut"
