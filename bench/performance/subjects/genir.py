"""genir from another process: a stream with a message per token, one in larger messages, unary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.performance.server import genir_server
from bench.performance.subjects.base import READY_SECONDS, Call, ServedFrontEnd, Start
from bench.performance.subjects.callers import make_calls
from bench.performance.subjects.waiting import until_serving
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from bench.performance.subjects.base import EngineSetting, Load
    from bench.performance.workload import Case

NAME = "genir"
STREAM = "stream"
COALESCED = "stream, 16 tokens a message"
UNARY = "unary"
TOKENS_COALESCED = 16


class Genir(ServedFrontEnd):
    """A genir server.

    Args:
        setting: its engine.
    """

    name = NAME
    ways: tuple[str, ...] = (STREAM, COALESCED, UNARY)

    def __init__(self, setting: EngineSetting) -> None:
        self._setting = setting

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts ``genir serve`` and waits for its readiness."""
        setting = self._setting
        arguments = ["--model", str(setting.model), "--served-model-name", setting.served_name]
        arguments += ["--max-model-len", str(setting.max_model_len)]
        # The same engine as everyone: jump-forward has a bench of its own.
        arguments += ["--structured-output-backend", setting.backend, "--jump-forward", "off"]
        self.server = stack.enter_context(
            genir_server(
                arguments, module=setting.module("genir_server"), environment=setting.environment
            )
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(self.server.target))
        self._stub: Any = ir_service_pb2_grpc.IRServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        await until_serving(health, health_pb2.HealthCheckRequest(service="liveness"), self.server)
        live = self.since_start()
        await until_serving(health, health_pb2.HealthCheckRequest(), self.server)
        return Start(live, self.since_start())

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Makes the calls."""
        call = {STREAM: self._stream, COALESCED: self._coalesced, UNARY: self._unary}[way]
        return await make_calls(call, cases, concurrency, self.server.cpu_seconds)

    async def _stream(self, case: Case, tokens_per_delta: int = 1) -> Call:
        request = ir_service_pb2.StreamIRRequest(
            spec=_spec(case), tokens_per_delta=tokens_per_delta
        )
        began = time.monotonic()
        first = 0.0
        texts = []
        tokens = 0
        async for event in self._stub.StreamIR(request, timeout=READY_SECONDS):
            if event.HasField("text_delta"):
                first = first or time.monotonic() - began
                texts.append(event.text_delta.text)
                tokens += event.text_delta.token_count
        return Call(first, time.monotonic() - began, tokens, len(texts), "".join(texts))

    async def _coalesced(self, case: Case) -> Call:
        return await self._stream(case, TOKENS_COALESCED)

    async def _unary(self, case: Case) -> Call:
        request = ir_service_pb2.GenerateIRRequest(spec=_spec(case))
        began = time.monotonic()
        answer = await self._stub.GenerateIR(request, timeout=READY_SECONDS)
        total = time.monotonic() - began
        return Call(total, total, answer.usage.completion_tokens, 1, answer.ir_json)


def _spec(case: Case) -> generation_pb2.GenerationSpec:
    return generation_pb2.GenerationSpec(
        prompt=case.prompt,
        prompt_format=generation_pb2.PROMPT_FORMAT_RAW,
        json_schema=case.schema or "",
        temperature=case.temperature,
        top_p=1.0,
        seed=case.seed,
        max_tokens=case.max_tokens,
        max_attempts=1,
    )
