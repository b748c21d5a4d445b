"""Gives memory that an engine process has freed back to the system.

The C library keeps freed memory for the next allocation, in an arena for each of many threads, and
gives back only what lies at an arena's end. After a burst of large grammars or batches that is more
than a hundred megabytes which nobody uses and no other process can. `malloc_trim(3)` of glibc gives
all of it back. It walks the arenas, which takes some milliseconds, so it is asked only after the
process has grown by a good deal since it was last asked.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

GROWTH_BYTES = 32 << 20
"""Growth since the last time after which memory is given back."""

CHECK_SECONDS = 5.0

_STATUS = Path("/proc/self/statm")
_RESIDENT_FIELD = 1


class MemoryReturn:
    """Decides when to give memory back.

    Args:
        resident: gives the bytes that the process holds.
        give_back: returns what is free.
    """

    def __init__(self, resident: Callable[[], int], give_back: Callable[[], object]) -> None:
        self._resident = resident
        self._give_back = give_back
        self._after_last = 0

    def check(self) -> None:
        """Gives memory back if the process has grown since it last did; the first time always."""
        before = self._resident()
        if before < self._after_last + GROWTH_BYTES:
            # What is freed by itself in between makes the next growth count from there.
            self._after_last = min(self._after_last, before)
            return
        began = time.monotonic()
        self._give_back()
        self._after_last = self._resident()
        logger.debug(
            "gave %d of %d MiB back to the system in %.1f ms",
            (before - self._after_last) >> 20,
            before >> 20,
            1000 * (time.monotonic() - began),
        )


def return_memory_from_now_on() -> bool:
    """Starts a thread that gives memory back; False where the C library has no way to."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        # A call through ctypes leaves the interpreter's lock to the other threads.
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return False
    watch = MemoryReturn(_resident_bytes, lambda: trim(0))

    def run() -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            watch.check()

    threading.Thread(target=run, name="genir-memory-return", daemon=True).start()
    return True


def _resident_bytes() -> int:
    return int(_STATUS.read_text().split()[_RESIDENT_FIELD]) * os.sysconf("SC_PAGE_SIZE")
