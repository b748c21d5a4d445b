"""An LRU cache bounded by the size of its entries in bytes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Value = TypeVar("Value")


@dataclass(slots=True)
class CacheCounters:
    """What happened in the cache since the start.

    Attributes:
        hits: lookups that found an entry.
        misses: lookups that found none and started a preparation.
        coalesced: lookups that joined a running preparation.
        evictions: entries removed to make room.

    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    size_bytes: int
    expires: float


class ByteBoundedCache(Generic[Value]):
    """Evicts the least recently used entries while all together exceed `max_bytes`.

    Only evictions are counted here; who looks up counts hits and misses.

    Args:
        max_bytes: the bound on the size of all entries.
        clock: a monotonic clock, in seconds.

    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = CacheCounters()
        self._clock = clock
        self._entries = _CountingCache[Value](max_bytes, self.counters)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def max_bytes(self) -> int:
        """The bound on the size of all entries."""
        return int(self._entries.maxsize)

    @property
    def size_bytes(self) -> int:
        """The size of all entries."""
        return int(self._entries.currsize)

    def get(self, key: Hashable) -> Value | None:
        """The value of `key`, now the most recently used; None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            del self._entries[key]
            return None
        return entry.value

    def put(self, key: Hashable, value: Value, size_bytes: int, seconds: float = math.inf) -> None:
        """Stores a value. One larger than the whole cache is not stored.

        Args:
            key: what it is found by.
            value: the value.
            size_bytes: the memory that it takes.
            seconds: how long it is valid.

        """
        # cachetools would make room for the new size beside the old one.
        self._entries.pop(key, None)
        if size_bytes <= self.max_bytes:
            self._entries[key] = _Entry(value, size_bytes, self._clock() + seconds)


class _CountingCache(LRUCache["Hashable", _Entry[Value]]):
    def __init__(self, max_bytes: int, counters: CacheCounters) -> None:
        super().__init__(max_bytes, getsizeof=lambda entry: entry.size_bytes)
        self._counters = counters

    def popitem(self) -> tuple[Hashable, _Entry[Value]]:
        """Removes the least recently used entry."""
        self._counters.evictions += 1
        return super().popitem()
