"""The cache of schemas stays within its size and evicts the least recently used."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError
from genir_server.schema.cache import ByteBoundedCache
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
