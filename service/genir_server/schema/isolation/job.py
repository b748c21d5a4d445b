"""What a worker process is given and gives back, on both sides of the pipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Failure(StrEnum):
    """Why a job has no result."""

    CPU_TIME = "cpu_time"
    """It used all its processor time."""
    WALL_TIME = "wall_time"
    """Its time by the clock passed first: the machine is overloaded."""
    MEMORY = "memory"
    STACK = "stack"
    """The process ran out of stack, or died of an access to memory that it does not have."""
    CRASH = "crash"
    """The process died of something else: a fault in the handler, or a signal from outside."""


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work.

    Attributes:
        body: the input, in a form that the handler knows.
        cpu_seconds: processor time that it may use; more while the machine is slow, see
            `slowness`.
        wall_seconds: time that it may take by the clock.

    """

    body: bytes
    cpu_seconds: float
    wall_seconds: float

    def encode(self) -> bytes:
        """The job as the body of a frame."""
        return f"{self.cpu_seconds} {self.wall_seconds}\n".encode() + self.body

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """The job that `encode` wrote."""
        header, _, body = data.partition(b"\n")
        cpu_seconds, wall_seconds = header.split()
        return cls(body, float(cpu_seconds), float(wall_seconds))


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended.

    Attributes:
        body: what the handler returned; empty if there was a failure.
        failure: why there is no result; None on success.
        resident_bytes: the peak memory of the process that did it, shared pages included.

    """

    body: bytes
    failure: Failure | None
    resident_bytes: int

    def encode(self) -> bytes:
        """The result as the body of a frame."""
        return f"{self.failure or '-'} {self.resident_bytes}\n".encode() + self.body

    @classmethod
    def decode(cls, data: bytes) -> JobResult:
        """The result that `encode` wrote."""
        header, _, body = data.partition(b"\n")
        failure, resident_bytes = header.decode().split()
        return cls(body, None if failure == "-" else Failure(failure), int(resident_bytes))


@dataclass(frozen=True, slots=True)
class Handler:
    """What a worker process does with its jobs.

    Attributes:
        handle: turns the body of a job into the body of its result. MemoryError counts as
            `Failure.MEMORY`, RecursionError as `Failure.STACK`, any other exception as
            `Failure.CRASH`.
        warm_up: harmless work that touches the memory most jobs need; None for none.
        remember: called in the worker itself with the body of a job that a child has done within
            its limits, so that later children inherit what the worker makes of it; None for none.

    """

    handle: Callable[[bytes], bytes]
    warm_up: Callable[[], object] | None = None
    remember: Callable[[bytes], object] | None = None


@dataclass(frozen=True, slots=True)
class WorkerConfiguration:
    """What a worker process is told when it starts.

    Attributes:
        handler_module: a module with ``load_handler(settings) -> Handler``. It is imported in the
            worker, which keeps heavy libraries out of the server's own process.
        settings: the argument of ``load_handler``; JSON values only.
        memory_bytes: memory that one job may take beyond what the warm worker has.

    """

    handler_module: str
    settings: Mapping[str, object]
    memory_bytes: int

    def encode(self) -> bytes:
        """The configuration as the body of a frame."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> WorkerConfiguration:
        """The configuration that `encode` wrote."""
        return cls(**json.loads(data))
