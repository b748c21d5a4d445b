"""Which processors the processes of an engine on a CPU use."""

from __future__ import annotations

import os


def bound_cpus(number: int) -> str:
    """One processor for each of so many processes, as `VLLM_CPU_OMP_THREADS_BIND` wants it."""
    cpus = sorted(os.sched_getaffinity(0))
    return "|".join(str(cpus[each % len(cpus)]) for each in range(number))
