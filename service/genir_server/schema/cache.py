"""An LRU cache bounded by the size of its entries in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

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


class ByteBoundedCache(Generic[Value]):
    """Evicts the least recently used entries while all together exceed `max_bytes`.

    Only evictions are counted here; who looks up counts hits and misses.
    """

    def __init__(self, max_bytes: int) -> None:
        self.counters = CacheCounters()
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

    def get(self, key: str) -> Value | None:
        """The value of `key`, now the most recently used; None if there is none."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: str, value: Value, size_bytes: int) -> None:
        """Stores a value of about `size_bytes`. One larger than the whole cache is not stored."""
        # cachetools would make room for the new size beside the old one.
        self._entries.pop(key, None)
        if size_bytes <= self.max_bytes:
            self._entries[key] = value, size_bytes


class _CountingCache(LRUCache[str, tuple[Value, int]]):
    def __init__(self, max_bytes: int, counters: CacheCounters) -> None:
        super().__init__(max_bytes, getsizeof=lambda entry: entry[1])
        self._counters = counters

    def popitem(self) -> tuple[str, tuple[Value, int]]:
        """Removes the least recently used entry."""
        self._counters.evictions += 1
        return super().popitem()
