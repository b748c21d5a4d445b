"""Keeps what is known about schemas, within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


@dataclass(slots=True)
class CacheCounters:
    """What the cache has seen since the start."""

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    evictions: int = 0


class ByteBoundedCache(Generic[Kept]):
    """Forgets what was used longest ago when the whole grows beyond `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[Kept, int]] = OrderedDict()
        self.bytes = 0
        self.counters = CacheCounters()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Kept | None:
        """What is kept under `key`, which counts as a use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: str, kept: Kept, size: int) -> None:
        """Keeps something of about `size` bytes, unless it alone is too large."""
        previous = self._entries.pop(key, None)
        if previous is not None:
            self.bytes -= previous[1]
        if size > self.max_bytes:
            return
        self._entries[key] = kept, size
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed
            self.counters.evictions += 1
