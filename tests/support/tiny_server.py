"""A server on the tiny random-weight model, for faults and load, and what such tests do with it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genir import GenirError, IRClient, RetryPolicy
from genir.types import Completed, TextDelta
from tests.support.server_process import ServerProcess
from tests.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psutil

NO_RETRIES = RetryPolicy(max_attempts=1)


def text_schema(least: int, most: int) -> dict[str, Any]:
    """A schema for an object that holds one text of so many characters."""
    return {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": least, "maxLength": most}},
        "required": ["text"],
        "additionalProperties": False,
    }


ENDLESS = text_schema(8000, 9000)
"""Takes the tiny model some seconds to satisfy."""

SHORT: dict[str, Any] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class TinyServer(ServerProcess):
    """A server on the tiny model."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        # 128 MiB of KV cache hold 130,000 tokens of this model.
        own = ["--max-model-len", "4096", "--engine-args", f"kv_cache_memory_bytes={128 << 20}"]
        super().__init__(
            folder, ["--model", str(make_tiny_model()), *own, *arguments], kv_cache_gib=None
        )

    def engine_process(self, name: str) -> psutil.Process:
        """The engine's one process whose name ends so."""
        (process,) = (found for found in self.descendants() if found.name().endswith(name))
        return process

    def health_status(self, name: str) -> int:
        """What the standard health service says now."""
        with grpc.insecure_channel(self.target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            return int(answer.status)


@dataclass(slots=True)
class Stream:
    """One stream that runs in a thread: what arrived, how it ended and when."""

    text: str = ""
    completed: bool = False
    error: GenirError | None = None
    ended_at: float = 0.0
    began: threading.Event = field(default_factory=threading.Event)


@contextmanager
def streams(target: str, count: int, **options: Any) -> Iterator[list[Stream]]:
    """Runs streams side by side; enters once each has text, leaves once each has ended."""
    running = [Stream() for _ in range(count)]
    options = {"schema": ENDLESS, "max_tokens": 3000, "schema_in_prompt": "never", **options}

    def run(client: IRClient, stream: Stream) -> None:
        try:
            with client.stream("Write on and on.", **options) as events:
                for event in events:
                    if isinstance(event, TextDelta):
                        stream.text += event.text
                        stream.began.set()
                    stream.completed = isinstance(event, Completed)
        except GenirError as error:
            stream.error = error
        finally:
            stream.ended_at = time.monotonic()
            stream.began.set()

    with IRClient(target, retry=NO_RETRIES, timeout=200) as client:
        threads = [threading.Thread(target=run, args=(client, stream)) for stream in running]
        for thread in threads:
            thread.start()
        try:
            for stream in running:
                assert stream.began.wait(60)
            yield running
        finally:
            for thread in threads:
                thread.join()


class HealthWatch:
    """A `Watch` of the standard health service in a thread: each status with the moment it came."""

    def __init__(self, target: str, name: str) -> None:
        self.name = name
        self._channel = grpc.insecure_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        self._call = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        self.seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()

    def not_serving_at(self, since: float) -> float:
        """When it was first seen to be off after `since`."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for moment, status in tuple(self.seen):
                if moment >= since and status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    return moment
            time.sleep(0.01)
        raise AssertionError(f"{self.name} stayed on: {self.seen}")

    def _follow(self) -> None:
        try:
            for answer in self._call:
                self.seen.append((time.monotonic(), answer.status))
        except grpc.RpcError:
            return


class ReadinessWatch(HealthWatch):
    """A `Watch` on readiness."""

    def __init__(self, target: str) -> None:
        super().__init__(target, "readiness")
