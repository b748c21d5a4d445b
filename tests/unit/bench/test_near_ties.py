from __future__ import annotations

import pytest

from bench.jump_forward.near_ties import Written, gap


def written(*places: dict[int, float]) -> Written:
    """Took the first token of each place."""
    return Written(tuple(next(iter(place)) for place in places), places)


def test_the_gap_is_that_of_the_first_place_that_differs() -> None:
    one = written({1: -0.1, 2: -3.0}, {3: -0.7, 4: -0.75}, {5: -0.1})
    other = written({1: -0.1, 2: -3.0}, {4: -0.71, 3: -0.72}, {6: -9.0})
    assert gap(one, other) == pytest.approx(0.05)


def test_a_token_that_only_the_other_names_is_taken_from_there() -> None:
    assert gap(written({1: -0.5}), written({2: -0.625})) == pytest.approx(0.125)


def test_answers_that_are_the_same_have_no_gap() -> None:
    assert gap(written({1: -0.1}), written({1: -0.1})) is None
    assert gap(written({1: -0.1}), written({1: -0.1}, {2: -0.2})) is None, "one was cut"
