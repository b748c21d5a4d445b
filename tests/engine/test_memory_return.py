"""When an engine process gives memory back, and that it then really is with the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genir_server.engine.patches.memory_return import GROWTH_BYTES, MemoryReturn

MEBIBYTE = 1 << 20

# Many blocks below the size that is mapped by itself, in between others that stay: what is free
# afterwards lies in the middle of the heap, and the C library keeps it.
_HOARDER = """
import ctypes, time
from genir_server.engine.patches import memory_return
memory_return.CHECK_SECONDS = 0.2
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
libc.free.argtypes = (ctypes.c_void_p,)
size, kept, freed = 64 << 10, [], []
for number in range(4096):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    (kept if number % 64 == 0 else freed).append(block)
full = memory_return._resident_bytes()
for block in freed:
    libc.free(block)
held = memory_return._resident_bytes()
assert memory_return.return_memory_from_now_on()
end = time.monotonic() + 20
while memory_return._resident_bytes() > full - (200 << 20) and time.monotonic() < end:
    time.sleep(0.1)
print(full, held, memory_return._resident_bytes())
"""


class Process:
    """Holds so many bytes, some of which nobody uses."""

    def __init__(self) -> None:
        self.used = 0
        self.free = 0
        self.times = 0

    def resident(self) -> int:
        return self.used + self.free

    def give_back(self) -> None:
        self.times += 1
        self.free = 0


def test_memory_is_given_back_after_growth_only() -> None:
    process = Process()
    watch = MemoryReturn(process.resident, process.give_back)
    process.used, process.free = 600 * MEBIBYTE, 90 * MEBIBYTE
    watch.check()
    assert (process.times, process.free) == (1, 0)
    process.free = GROWTH_BYTES - 1
    watch.check()
    assert process.times == 1
    process.free = GROWTH_BYTES
    watch.check()
    assert (process.times, process.free) == (2, 0)
    # What is in use does not come back, and is not asked for again and again.
    process.used += 2 * GROWTH_BYTES
    for _ in range(3):
        watch.check()
    assert process.times == 3


def test_growth_counts_from_the_lowest_point() -> None:
    process = Process()
    watch = MemoryReturn(process.resident, process.give_back)
    process.used = 600 * MEBIBYTE
    watch.check()
    process.used = 300 * MEBIBYTE
    watch.check()
    process.free = GROWTH_BYTES
    watch.check()
    assert process.times == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc_trim")
def test_what_a_process_has_freed_comes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HOARDER], capture_output=True, text=True, check=True, timeout=60
    )
    full, held, left = (int(number) for number in done.stdout.split())
    assert held > full - 32 * MEBIBYTE, "the C library gave it back by itself"
    assert left < full - 200 * MEBIBYTE
