"""A server on the tiny random-weight model, for faults and load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import psutil

NO_RETRIES = RetryPolicy(max_attempts=1)


def text_schema(min_length: int, max_length: int) -> dict[str, Any]:
    """A schema for an object with one string of that length in characters."""
    return {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": min_length, "maxLength": max_length}
        },
        "required": ["text"],
        "additionalProperties": False,
    }


ENDLESS = text_schema(8000, 9000)
"""Keeps the tiny model busy for some seconds."""

SHORT: dict[str, Any] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class TinyServer(ServerProcess):
    """A server on the tiny model.

    Args:
        folder: where its files go.
        arguments: the rest of its command line.
        model: another folder or name of the model.
        environment: further environment variables.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        model: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # 128 MiB of KV cache hold 130,000 tokens of this model.
        own = ["--max-model-len", "4096", "--engine-args", f"kv_cache_memory_bytes={128 << 20}"]
        super().__init__(
            folder,
            ["--model", model or str(make_tiny_model()), *own, *arguments],
            kv_cache_gib=None,
            environment=environment,
        )

    def engine_process(self, name: str) -> psutil.Process:
        """The process of the engine whose name ends with `name`."""
        (process,) = (found for found in self.descendants() if found.name().endswith(name))
        return process

    def health_status(self, name: str) -> int:
        """The current status from the standard health service."""
        with grpc.insecure_channel(self.target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            return int(answer.status)
