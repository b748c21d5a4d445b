"""vLLM's own gRPC server. It takes and streams token ids, without detokenization."""

from __future__ import annotations

import importlib.util
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.performance.server import free_port, running
from bench.performance.subjects.base import READY_SECONDS, Call, ServedFrontEnd, Start
from bench.performance.subjects.callers import make_calls
from bench.performance.subjects.vllm_arguments import command_line, environment
from bench.performance.subjects.waiting import until_serving

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from bench.performance.subjects.base import EngineSetting, Load
    from bench.performance.workload import Case

NAME = "vLLM gRPC"
STREAM = "stream of token ids"

_NO_WARMUP = {"SMG_VLLM_SERVICER_WARMUP": "off"}
"""By default it runs batches of every size for minutes before it serves. The bench warms up every
front end itself."""
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
"""Its port opens late, and grpc's own reconnect backoff grows to two minutes."""


def missing() -> str:
    """Why it cannot be measured. "" if it can."""
    if importlib.util.find_spec("smg_grpc_servicer") and importlib.util.find_spec("smg_grpc_proto"):
        return ""
    return "smg-grpc-servicer and smg-grpc-proto are not installed (pip install --no-deps)"


class VllmGrpc(ServedFrontEnd):
    """``vllm.entrypoints.launchers.grpc_server``."""

    name = NAME
    ways: tuple[str, ...] = (STREAM,)

    def __init__(self, setting: EngineSetting) -> None:
        self._setting = setting

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts it and waits until its health service reports SERVING."""
        from smg_grpc_proto import vllm_engine_pb2_grpc

        port = free_port()
        command = [sys.executable, *self._setting.module("vllm.entrypoints.launchers.grpc_server")]
        command += ["--host", "127.0.0.1", "--port", str(port), *command_line(self._setting)]
        self.server = stack.enter_context(
            running(
                command,
                port=port,
                environment=environment() | self._setting.environment | _NO_WARMUP,
            )
        )
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(self.server.target, _OPTIONS)
        )
        health: Any = health_pb2_grpc.HealthStub(channel)
        await until_serving(health, health_pb2.HealthCheckRequest(), self.server)
        self._stub: Any = vllm_engine_pb2_grpc.VllmEngineStub(channel)
        return Start(None, self.since_start())

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:  # noqa: ARG002
        """Makes the calls."""
        return await make_calls(self._stream, cases, concurrency, self.server.cpu_seconds)

    async def _stream(self, case: Case) -> Call:
        from smg_grpc_proto import vllm_engine_pb2 as engine

        request = engine.GenerateRequest(
            request_id=uuid.uuid4().hex,
            tokenized=engine.TokenizedInput(input_ids=case.token_ids),
            sampling_params=engine.SamplingParams(
                temperature=case.temperature,
                top_p=1.0,
                seed=case.seed,
                max_tokens=case.max_tokens,
                json_schema=case.schema,
            ),
            stream=True,
        )
        began = time.monotonic()
        first = 0.0
        tokens = messages = 0
        async for answer in self._stub.Generate(request, timeout=READY_SECONDS):
            if answer.HasField("chunk"):
                first = first or time.monotonic() - began
                messages += 1
                tokens += len(answer.chunk.token_ids)
            elif answer.HasField("complete"):
                tokens = max(tokens, answer.complete.completion_tokens)
        return Call(first, time.monotonic() - began, tokens, messages, "")
