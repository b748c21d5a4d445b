"""The cache of schemas stays within its size and evicts the least recently used."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from genir_server.domain.errors import GenirError
from genir_server.schema import preparer as preparer_module
from genir_server.schema.cache import ByteBoundedCache
from genir_server.schema.limits import SchemaLimits
from genir_server.schema.preparer import Preparer

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema

MAX_BYTES = 40_000


def test_least_recently_used_entry_is_evicted_first() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert [cache.get(key) for key in "abc"] == ["A", None, "C"]
    assert (len(cache), cache.size_bytes, cache.counters.evictions) == (2, 8, 1)


def test_as_many_entries_are_evicted_as_needed() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    for key in "abc":
        cache.put(key, key, 3)
    cache.put("d", "D", 7)
    assert [cache.get(key) for key in "abcd"] == [None, None, "c", "D"]
    assert (cache.size_bytes, cache.counters.evictions) == (10, 2)


def test_replaced_entry_counts_once() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    for size in (9, 2, 6):
        cache.put("a", str(size), size)
    assert cache.get("a") == "6"
    assert (len(cache), cache.size_bytes, cache.counters.evictions) == (1, 6, 0)


def test_entry_larger_than_the_cache_evicts_nothing() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "A", 10)
    cache.put("b", "B", 11)
    assert (cache.get("a"), cache.get("b")) == ("A", None)
    assert (cache.size_bytes, cache.counters.evictions) == (10, 0)


def test_entry_is_forgotten_when_its_time_has_passed() -> None:
    now = 0.0
    cache: ByteBoundedCache[str] = ByteBoundedCache(10, clock=lambda: now)
    cache.put("a", "A", 4, seconds=5.0)
    cache.put("b", "B", 4)
    now = 4.9
    assert cache.get("a") == "A"
    now = 5.0
    assert (cache.get("a"), cache.get("b")) == (None, "B")
    assert (len(cache), cache.size_bytes, cache.counters.evictions) == (1, 4, 0)


async def test_only_refusals_that_depend_on_the_machine_are_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparer_module, "_REFUSED_SECONDS", 0.0)
    preparer = Preparer(None, SchemaLimits(probe_seconds=0.05, quick_seconds=0.05))
    await preparer.start()
    # The first takes long, the second is never a schema.
    slow = json.dumps({"enum": [{"k": index, "v": [index]} for index in range(2_000)]})
    misses = []
    for text, limit in ((slow, "probe_seconds"), ('{"type": "strin"}', None)):
        before = preparer.counters.cache.misses
        for _ in range(3):
            with pytest.raises(GenirError) as refused:
                await preparer.prepare(text)
            assert refused.value.metadata.get("limit") == limit
        misses.append(preparer.counters.cache.misses - before)
    await preparer.close()
    assert misses == [3, 1]


async def test_callers_do_not_wait_for_a_preparation_that_waits_behind_other_jobs() -> None:
    """A caller with many jobs queued could otherwise hold up another caller's schema."""
    # A long wall time, because the machine may be busy.
    preparer = Preparer(None, SchemaLimits(probe_wall_seconds=120.0))
    await preparer.start()
    flood = [
        asyncio.create_task(preparer.prepare(json.dumps({"title": str(number)}), "many"))
        for number in range(80)
    ]
    shared = asyncio.create_task(preparer.prepare("true", "many"))
    await asyncio.sleep(0)
    await preparer.prepare("true", "one")
    waiting = sum(not task.done() for task in flood)
    await asyncio.gather(*flood, shared)
    await preparer.close()
    assert waiting > len(flood) / 2


async def test_prepared_schemas_and_refusals_stay_within_the_size() -> None:
    preparer = Preparer(None, cache_bytes=MAX_BYTES)
    await preparer.start()
    prepared: list[PreparedSchema] = []
    try:
        for number in range(10):
            schema = {"title": f"{number}", "type": "boolean", "description": "d" * 200}
            prepared.append(await preparer.prepare(json.dumps(schema)))
            with contextlib.suppress(GenirError):
                await preparer.prepare(json.dumps({"title": f"{number}", "type": "none"}))
            assert preparer.statistics().size_bytes <= MAX_BYTES
        statistics = preparer.statistics()
        # All twenty were new, so those that are missing were evicted.
        assert statistics.entries < 20
        assert statistics.evictions == 20 - statistics.entries > 0
        assert statistics.max_bytes == MAX_BYTES
        kept = [preparer.known(schema.digest) is not None for schema in prepared]
        # Only the latest are left.
        assert kept == sorted(kept)
        assert not kept[0]
        assert kept[-1]
        # An evicted schema is prepared again.
        again = await preparer.prepare(prepared[0].text)
        assert again is not prepared[0]
        assert preparer.known(prepared[0].digest) is again
        assert preparer.statistics().misses == statistics.misses + 1
        assert preparer.statistics().size_bytes <= MAX_BYTES
    finally:
        await preparer.close()
