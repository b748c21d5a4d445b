from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from genir_server.domain.fair_queue import FairQueue


async def served(queue: FairQueue[int], callers: list[str], items: int = 1) -> list[str]:
    """The order in which callers are served when all wait before the first item arrives."""
    order: list[str] = []

    async def use(caller: str) -> None:
        item = await queue.get(caller)
        order.append(caller)
        await asyncio.sleep(0)
        queue.put(item, caller)

    tasks = [asyncio.create_task(use(caller)) for caller in callers]
    await asyncio.sleep(0)
    for item in range(items):
        queue.add(item)
    await asyncio.gather(*tasks)
    return order


async def test_callers_are_served_round_robin() -> None:
    order = await served(FairQueue(), ["a", "a", "a", "a", "b", "c", "b"])
    assert order == ["a", "b", "c", "a", "b", "a", "a"]


async def test_caller_with_long_jobs_waits_for_those_with_short_ones() -> None:
    queue: FairQueue[int] = FairQueue()
    order: list[str] = []

    async def use(caller: str, seconds: float) -> None:
        item = await queue.get(caller)
        order.append(caller)
        await asyncio.sleep(0)
        queue.put(item, caller, seconds)

    tasks = [asyncio.create_task(use("slow", 1.0)) for _ in range(4)]
    tasks += [asyncio.create_task(use("quick", 0.3)) for _ in range(6)]
    await asyncio.sleep(0)
    queue.add(1)
    await asyncio.gather(*tasks)
    # The quick one has several turns for each of the slow one.
    assert [name[0] for name in order] == [*"sqqqqsqqss"]


async def test_caller_that_comes_later_has_no_credit_for_its_absence() -> None:
    queue: FairQueue[int] = FairQueue()
    first = [asyncio.create_task(queue.get("first")) for _ in range(4)]
    await asyncio.sleep(0)
    queue.add(1)
    queue.put(await first[0], "first", 9.0)
    late = [asyncio.create_task(queue.get("late")) for _ in range(3)]
    await asyncio.sleep(0)
    queue.put(await first[1], "first", 1.0)
    assert await late[0] == 1
    queue.put(1, "late", 2.0)
    # Nine seconds alone do not count against the first.
    assert await first[2] == 1
    for task in (*first, *late):
        task.cancel()


async def test_last_item_is_kept_for_another_caller_than_the_one_that_has_one() -> None:
    queue: FairQueue[int] = FairQueue(reserve=True)
    queue.add(1)
    queue.add(2)
    assert await queue.get("other") == 1
    queue.put(1, "other")
    busy = [asyncio.create_task(queue.get("busy")) for _ in range(2)]
    await asyncio.sleep(0)
    assert busy[0].done()
    assert not busy[1].done()
    item = await queue.get("other")
    queue.put(item, "other")
    await asyncio.sleep(0)
    assert not busy[1].done()
    # Its own item comes back, so it may have that one, but still no second one.
    queue.put(busy[0].result(), "busy")
    await asyncio.sleep(0)
    assert busy[1].done()
    assert queue.free == 1


async def test_caller_that_is_alone_gets_every_item() -> None:
    queue: FairQueue[int] = FairQueue(reserve=True)
    queue.add(1)
    queue.add(2)
    assert sorted([await queue.get("a"), await queue.get("a")]) == [1, 2]


async def test_free_item_is_taken_without_waiting() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.add(1)
    queue.add(2)
    assert [await queue.get("a"), await queue.get("a")] == [1, 2]


async def test_cancelled_waiter_passes_its_turn_on() -> None:
    queue: FairQueue[int] = FairQueue()
    tasks = [asyncio.create_task(queue.get(caller)) for caller in "aab"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    queue.add(1)
    queue.add(2)
    assert [await tasks[1], await tasks[2]] == [1, 2]
    # Nothing is kept of callers who have gone.
    assert not queue._queues


async def test_item_goes_to_the_next_waiter_after_an_unnoticed_cancellation() -> None:
    queue: FairQueue[int] = FairQueue()
    tasks = [asyncio.create_task(queue.get(caller)) for caller in "aba"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    queue.add(1)
    queue.add(2)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    # The one that left cost its caller no turn.
    assert outcomes[1:] == [2, 1]
    alone = asyncio.create_task(queue.get("c"))
    await asyncio.sleep(0)
    alone.cancel()
    queue.add(3)
    assert isinstance(
        (await asyncio.gather(alone, return_exceptions=True))[0], asyncio.CancelledError
    )
    assert await queue.get("d") == 3
    assert not queue._queues


async def test_item_is_not_lost_when_its_waiter_is_cancelled_meanwhile() -> None:
    queue: FairQueue[int] = FairQueue()
    leaving, staying = (asyncio.create_task(queue.get(caller)) for caller in "ab")
    await asyncio.sleep(0)
    queue.add(1)
    leaving.cancel()
    assert await staying == 1
    assert leaving.cancelled()


@given(
    callers=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30),
    items=st.integers(1, 3),
)
def test_no_caller_starves_or_waits_for_two_items_of_another(
    callers: list[str], items: int
) -> None:
    order = asyncio.run(served(FairQueue(), callers, items))
    assert sorted(order) == sorted(callers)
    for caller in set(callers):
        first = order.index(caller)
        assert all(order[:first].count(other) == 1 for other in set(order[:first]))
