"""The interface between harness and subject."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bench.performance.replay.core import PACE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    import psutil

    from bench.performance.server import Server
    from bench.performance.workload import Case

READY_SECONDS = 3600.0
"""Large models take long to load."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, measured at its caller.

    Times are seconds from sending to the first text and to the end. `messages` is the number of
    pieces of the text. If it is 1, `first` is the end too. `text` is "" if a subject gives token
    ids only.
    """

    first: float
    total: float
    tokens: int
    messages: int
    text: str


@dataclass(frozen=True, slots=True)
class Load:
    """Calls made at one concurrency.

    `seconds` is their total duration, `cpu_seconds` the CPU time of the front end's process alone.
    """

    concurrency: int
    seconds: float
    cpu_seconds: float
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of the process to liveness and readiness."""

    live: float | None
    ready: float


class FrontEnd(Protocol):
    """A process that takes requests, in one or more call modes."""

    name: str
    ways: tuple[str, ...]

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts it and waits until it is ready. The stack stops it."""
        ...

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Makes the calls, with `concurrency` in flight."""
        ...

    def resident_bytes(self) -> int:
        """Memory of the process, without the engine's processes."""
        ...

    @property
    def process(self) -> psutil.Process:
        """The process."""
        ...


@dataclass(frozen=True, slots=True)
class EngineSetting:
    """Start options of every subject's engine.

    `model` is a folder or the name of a model on the Hugging Face Hub, `engine_args` are further
    arguments of vLLM's ``AsyncEngineArgs``, and `dtype` is vLLM's; they are the same for all.
    A `replay_pace` above 0 puts a replay engine core behind the real AsyncLLM, with that many
    tokens per second for each request. See `bench.performance.replay.core`.
    """

    model: str
    served_name: str
    backend: str = "guidance"
    max_model_len: int = 4096
    replay_pace: float = 0.0
    dtype: str = "auto"
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def module(self, name: str) -> list[str]:
        """Python arguments that run a server's module with this engine."""
        if self.replay_pace:
            return ["-m", "bench.performance.replay.core", name]
        return ["-m", name]

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a server's process."""
        return {PACE_VARIABLE: str(self.replay_pace)} if self.replay_pace else {}


class ServedFrontEnd:
    """Common part of front ends that run as a server."""

    server: Server

    def resident_bytes(self) -> int:
        """Memory of the server process."""
        return self.server.resident_bytes()

    @property
    def process(self) -> psutil.Process:
        """The server process."""
        return self.server.process

    def since_start(self) -> float:
        """Seconds since the server was started."""
        return time.monotonic() - self.server.started
