"""How slow this machine is at the moment, for limits on processor time.

Processes that share caches and cores take each other's time: the same work can need twice the
processor time while others are busy. A limit that is multiplied by the slowness refuses nothing for
time that others used.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_FACTOR = 3.0
_VALID_SECONDS = 0.5
_SAMPLES_AT_START = 8
_REFERENCE_TEXT = json.dumps([{"name": f"n{number}", "of": [number, {}]} for number in range(300)])


def _reference_work() -> None:
    """About a millisecond of what the pipeline mostly does: parse, walk, build, write."""
    entries = json.loads(_REFERENCE_TEXT)
    json.dumps({entry["name"]: [*entry["of"], entry["name"].upper()] for entry in entries})


class Slowness:
    """Compares the processor time of fixed work with the least that it has taken.

    Args:
        work: the fixed work.
        clock: processor time of this process, in seconds.
        wall_clock: a monotonic clock, in seconds.

    """

    def __init__(
        self,
        work: Callable[[], object] = _reference_work,
        clock: Callable[[], float] = time.process_time,
        wall_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._clock = clock
        self._wall_clock = wall_clock
        self._fastest = 0.0
        self._factor = 1.0
        self._measured_at = float("-inf")

    def factor(self) -> float:
        """How many times as long as usual work takes now: 1 to 3.

        Takes about a millisecond, at most every half second. A forked child inherits what its
        parent has measured.
        """
        now = self._wall_clock()
        if now - self._measured_at >= _VALID_SECONDS:
            self._measured_at = now
            if not self._fastest:
                self._fastest = min(self._sample() for _ in range(_SAMPLES_AT_START))
            sample = self._sample()
            self._fastest = min(self._fastest, sample)
            self._factor = min(_MAX_FACTOR, max(1.0, sample / self._fastest))
        return self._factor

    def _sample(self) -> float:
        start = self._clock()
        self._work()
        # A clock that is too coarse must not make the fastest time zero.
        return max(self._clock() - start, 1e-5)


MACHINE = Slowness()
"""The slowness of this machine as this process measures it."""
