from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from genir_server.domain.fair_queue import FairQueue


async def served(queue: FairQueue[int], callers: list[str], items: int = 1) -> list[str]:
    """Who is served in which order, when all wait before the first item comes."""
    order: list[str] = []

    async def use(caller: str) -> None:
        item = await queue.get(caller)
        order.append(caller)
        await asyncio.sleep(0)
        queue.put(item)

    tasks = [asyncio.create_task(use(caller)) for caller in callers]
    await asyncio.sleep(0)
    for item in range(items):
        queue.put(item)
    await asyncio.gather(*tasks)
    return order


async def test_callers_are_served_in_turns() -> None:
    order = await served(FairQueue(), ["a", "a", "a", "a", "b", "c", "b"])
    assert order == ["a", "b", "c", "a", "b", "a", "a"]


async def test_who_comes_to_a_free_item_does_not_wait() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put(1)
    queue.put(2)
    assert [await queue.get("a"), await queue.get("a")] == [1, 2]


async def test_who_stops_waiting_leaves_the_turn_to_the_next() -> None:
    queue: FairQueue[int] = FairQueue()
    tasks = [asyncio.create_task(queue.get(caller)) for caller in "aab"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    queue.put(1)
    queue.put(2)
    assert [await tasks[1], await tasks[2]] == [1, 2]
    # Nothing is kept of callers who have gone.
    assert not queue._lines


async def test_an_item_that_comes_before_the_leaving_is_noticed_goes_to_the_next() -> None:
    queue: FairQueue[int] = FairQueue()
    tasks = [asyncio.create_task(queue.get(caller)) for caller in "aba"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    queue.put(1)
    queue.put(2)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    # The one that left cost its caller no turn.
    assert outcomes[1:] == [2, 1]
    alone = asyncio.create_task(queue.get("c"))
    await asyncio.sleep(0)
    alone.cancel()
    queue.put(3)
    assert isinstance(
        (await asyncio.gather(alone, return_exceptions=True))[0], asyncio.CancelledError
    )
    assert await queue.get("d") == 3
    assert not queue._lines


async def test_an_item_that_comes_as_its_caller_leaves_is_not_lost() -> None:
    queue: FairQueue[int] = FairQueue()
    leaving, staying = (asyncio.create_task(queue.get(caller)) for caller in "ab")
    await asyncio.sleep(0)
    queue.put(1)
    leaving.cancel()
    assert await staying == 1
    assert leaving.cancelled()


@given(
    callers=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30),
    items=st.integers(1, 3),
)
def test_nobody_is_left_out_and_nobody_waits_for_two_of_another(
    callers: list[str], items: int
) -> None:
    order = asyncio.run(served(FairQueue(), callers, items))
    assert sorted(order) == sorted(callers)
    for caller in set(callers):
        first = order.index(caller)
        assert all(order[:first].count(other) == 1 for other in set(order[:first]))
