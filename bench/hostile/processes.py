"""The processes of a server and their memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Processes:
    """A server at one moment.

    Attributes:
        server: its process id.
        engine: process ids of the engine.
        workers: process ids of the schema workers.
        memory: resident mebibytes by role: server, engine, workers, others.

    """

    server: int
    engine: tuple[int, ...]
    workers: tuple[int, ...]
    memory: Mapping[str, float]


def observe(pid: int) -> Processes:
    """The processes of the server `pid` now."""
    roles: dict[str, list[int]] = {"engine": [], "workers": [], "others": []}
    memory = dict.fromkeys(("server", *roles), 0.0)
    server = psutil.Process(pid)
    memory["server"] = server.memory_info().rss / MEBIBYTE
    for child in server.children(recursive=True):
        try:
            command = " ".join(child.cmdline())
            resident = child.memory_info().rss / MEBIBYTE
            parent = child.ppid()
        except psutil.Error:
            continue
        if "genir_server.schema.isolation.worker_main" in command:
            # A worker's children live for one job each.
            role = "workers" if parent == pid else "others"
        else:
            role = "engine" if "EngineCore" in command or "VLLM" in command else "others"
        roles[role].append(child.pid)
        memory[role] += resident
    return Processes(
        pid,
        tuple(sorted(roles["engine"])),
        tuple(sorted(roles["workers"])),
        {role: round(value, 1) for role, value in memory.items()},
    )
