"""What is kept about schemas stays within its bound of bytes; what was used longest ago goes."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError
from genir_server.schema.cache import ByteBoundedCache
from genir_server.schema.preparer import Preparer

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema

MOST_BYTES = 40_000


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert [cache.get(key) for key in "abc"] == ["A", None, "C"]
    assert (len(cache), cache.bytes, cache.counters.evictions) == (2, 8, 1)


def test_as_many_go_as_are_in_the_way() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    for key in "abc":
        cache.put(key, key, 3)
    cache.put("d", "D", 7)
    assert [cache.get(key) for key in "abcd"] == [None, None, "c", "D"]
    assert (cache.bytes, cache.counters.evictions) == (10, 2)


def test_what_is_put_again_is_counted_once() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    for size in (9, 2, 6):
        cache.put("a", str(size), size)
    assert cache.get("a") == "6"
    assert (len(cache), cache.bytes, cache.counters.evictions) == (1, 6, 0)


def test_what_alone_is_too_large_drives_nothing_out() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "A", 10)
    cache.put("b", "B", 11)
    assert (cache.get("a"), cache.get("b")) == ("A", None)
    assert (cache.bytes, cache.counters.evictions) == (10, 0)


async def test_prepared_schemas_and_refusals_stay_within_the_bound() -> None:
    preparer = Preparer(None, cache_bytes=MOST_BYTES)
    await preparer.start()
    prepared: list[PreparedSchema] = []
    try:
        for number in range(10):
            schema = {"title": f"{number}", "type": "boolean", "description": "d" * 200}
            prepared.append(await preparer.prepare(json.dumps(schema)))
            with contextlib.suppress(GenirError):
                await preparer.prepare(json.dumps({"title": f"{number}", "type": "none"}))
            assert preparer.statistics().size_bytes <= MOST_BYTES
        seen = preparer.statistics()
        # Each of the twenty was new, so what is no longer there was driven out.
        assert seen.entries < 20
        assert seen.evictions == 20 - seen.entries > 0
        assert seen.max_bytes == MOST_BYTES
        kept = [preparer.known(schema.digest) is not None for schema in prepared]
        # The latest are left, in one piece.
        assert kept == sorted(kept)
        assert not kept[0]
        assert kept[-1]
        # What was forgotten is prepared again, as if it had never been there.
        again = await preparer.prepare(prepared[0].text)
        assert again is not prepared[0]
        assert preparer.known(prepared[0].digest) is again
        assert preparer.statistics().misses == seen.misses + 1
        assert preparer.statistics().size_bytes <= MOST_BYTES
    finally:
        await preparer.close()
