"""What the harness needs of a subject."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.performance.replay.core import PACE_VARIABLE

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    import psutil

    from bench.performance.server import Server
    from bench.performance.workload import Case

READY_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it.

    Seconds from sending it to the first text and to the end; `messages` are the pieces the text
    came in, 1 where it came whole, and then `first` is the end too. `text` is "" where a subject
    gives token ids only.
    """

    first: float
    total: float
    tokens: int
    messages: int
    text: str


@dataclass(frozen=True, slots=True)
class Load:
    """Calls made with a number of them in flight.

    `seconds` is how long they took together, `cpu_seconds` the processor time that the front end's
    process alone used meanwhile.
    """

    concurrency: int
    seconds: float
    cpu_seconds: float
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from starting the process until it said that it lives and that it is ready."""

    live: float | None
    ready: float


class FrontEnd(Protocol):
    """A process that takes requests, with one or more ways of asking it."""

    name: str
    ways: tuple[str, ...]

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts it and waits until it is ready; the stack ends it."""
        ...

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Makes the calls with `concurrency` of them in flight."""
        ...

    def resident_bytes(self) -> int:
        """Memory of the process alone, without the engine's processes."""
        ...

    @property
    def process(self) -> psutil.Process:
        """The process."""
        ...


@dataclass(frozen=True, slots=True)
class EngineSetting:
    """How every subject's engine is started.

    `replay_pace`, where it is not 0, puts an engine core that plays recordings back behind the real
    AsyncLLM, at so many tokens a second for each request; see `bench.performance.replay.core`.
    `dtype` is vLLM's, the same for all.
    """

    model: Path
    served_name: str
    backend: str = "guidance"
    max_model_len: int = 4096
    replay_pace: float = 0.0
    dtype: str = "auto"

    def module(self, name: str) -> list[str]:
        """The arguments of Python that run a server's module with this engine."""
        if self.replay_pace:
            return ["-m", "bench.performance.replay.core", name]
        return ["-m", name]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a server's process."""
        return {PACE_VARIABLE: str(self.replay_pace)} if self.replay_pace else {}


class ServedFrontEnd:
    """What front ends in a server of their own share."""

    server: Server

    def resident_bytes(self) -> int:
        """Memory of the server's process."""
        return self.server.resident_bytes()

    @property
    def process(self) -> psutil.Process:
        """The server's."""
        return self.server.process

    def since_start(self) -> float:
        """Seconds since the server was started."""
        return time.monotonic() - self.server.started
