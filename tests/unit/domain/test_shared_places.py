"""How callers share places."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir_server.domain.shared_places import SharedPlaces


def fill(places: SharedPlaces, caller: str) -> int:
    """Takes as many places as a caller gets."""
    while places.refusal(caller) is None:
        places.take(caller)
    return places.held_by(caller)


@pytest.mark.parametrize(("total", "alone"), [(1, 1), (8, 8), (9, 8), (64, 57), (256, 228)])
def test_one_caller_alone_leaves_places(total: int, alone: int) -> None:
    places = SharedPlaces("calls are in flight", total)
    assert fill(places, "a") == alone
    refusal = places.refusal("a")
    assert refusal is not None
    assert refusal.maximum == total
    assert (places.refusal("b") is None) == (alone < total)


def test_callers_who_keep_flooding_come_to_equal_shares() -> None:
    """Whoever was first loses its lead as its calls end, and the others always find places."""
    places = SharedPlaces("calls are in flight", 256)
    flooding = ("first", "second", "third")
    for caller in flooding:
        fill(places, caller)
    assert places.held_by("first") > 200
    for _ in range(100):
        for caller in flooding:
            places.give_back(caller, -(-places.held_by(caller) // 10))
            fill(places, caller)
    shares = [places.held_by(caller) for caller in flooding]
    assert max(shares) <= 2 * min(shares)
    assert places.refusal("other") is None


def test_caller_with_a_limit_gets_no_more() -> None:
    places = SharedPlaces("calls are in flight", 128, 64)
    assert fill(places, "a") == 64
    refusal = places.refusal("a")
    assert refusal is not None
    assert (refusal.maximum, refusal.why) == (
        64,
        "64 of your calls are in flight; one caller may have 64",
    )
    assert fill(places, "b") > 50
    assert fill(places, "c") > 0


def test_one_caller_may_hold_all_places_if_its_limit_says_so() -> None:
    assert fill(SharedPlaces("calls are in flight", 64, 64), "a") == 64


def test_large_amount_fits_where_nothing_is_taken() -> None:
    places = SharedPlaces("tokens are queued", 1000)
    assert places.refusal("a", 1000) is None
    assert places.refusal("a", 1001) is not None
    places.take("a", 600)
    assert places.refusal("b", 400) is None
    assert places.refusal("b", 401) is not None


def test_places_without_limit_are_only_counted() -> None:
    places = SharedPlaces("tokens are queued", None)
    with places.held("a"):
        assert places.taken == places.held_by("a") == 1
        assert places.refusal("a", 10**9) is None
    assert not places.callers()


@given(
    st.integers(1, 40),
    st.none() | st.integers(1, 50),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.booleans()), max_size=80),
)
def test_limits_hold_for_any_sequence(
    total: int, per_caller: int | None, steps: list[tuple[str, int, bool]]
) -> None:
    places = SharedPlaces("calls are in flight", total, per_caller)
    held: Counter[str] = Counter()
    for caller, amount, taking in steps:
        if taking:
            refusal = places.refusal(caller, amount)
            fits = held.total() + amount <= total and amount <= (per_caller or amount)
            if not held[caller]:
                # Only a lack of places refuses a caller who has none.
                assert (refusal is None) == fits
            if refusal is None:
                places.take(caller, amount)
                held[caller] += amount
        elif held[caller] >= amount:
            places.give_back(caller, amount)
            held[caller] -= amount
        assert places.taken == held.total() <= total
        assert all(places.held_by(each) == held[each] <= (per_caller or total) for each in "abcd")
