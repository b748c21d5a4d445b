"""The metric of the memory that the server and the processes below it take."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from genir_server.schema.isolation.worker_client import WORKER_MODULE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric


class ProcessMemoryCollector(Collector):
    """Sums the resident memory of the server, the engine's processes and the workers at a scrape.

    Every process below the server belongs to the engine, unless it is a worker or started by one.
    Resident memory is one small file for each process. The proportional share of memory would need
    a walk over all pages, in which the kernel may stop a large engine for long.
    """

    def collect(self) -> Iterable[Metric]:
        """Returns the one family. It has every label, also where no such process runs."""
        server = psutil.Process()
        resident = {"server": _resident(server), "engine": 0, "workers": 0}
        for child in _children(server, recursive=False):
            kind = _kind(child)
            if kind is None:
                continue
            for process in (child, *_children(child, recursive=True)):
                resident[kind] += _resident(process)
        family = GaugeMetricFamily(
            "genir_process_resident_memory_bytes",
            "Resident memory of the server, the engine's processes, and the workers that compile "
            "and check. Memory that processes share counts in each.",
            labels=["process"],
        )
        for kind, size in resident.items():
            family.add_metric([kind], size)
        yield family


def _children(process: psutil.Process, *, recursive: bool) -> list[psutil.Process]:
    with suppress(psutil.Error):
        found: list[psutil.Process] = process.children(recursive=recursive)
        return found
    return []


def _kind(process: psutil.Process) -> str | None:
    """What a child of the server is; None if it has ended."""
    with suppress(psutil.Error):
        return "workers" if WORKER_MODULE in process.cmdline() else "engine"
    return None


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
