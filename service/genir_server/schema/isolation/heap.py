"""Measures how much memory this process has allocated from the C library."""

from __future__ import annotations

import ctypes
import resource

_FIELDS = [
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
]


class _Mallinfo2(ctypes.Structure):
    # `struct mallinfo2` of malloc.h in glibc 2.33 and later.
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def allocated_bytes() -> int:
    """Bytes in use by malloc's callers, with what malloc has mapped for large blocks.

    Native libraries such as jsonschema-rs allocate with malloc, and so does Python for objects of
    more than 512 bytes. A difference of two values is what was allocated between them. Without
    `mallinfo2` it is the resident memory, which is coarser.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # pragma: no cover - glibc before 2.33
        with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel's
            return int(statm.read().split()[1]) * resource.getpagesize()
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)
