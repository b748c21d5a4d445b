"""genir as a server: a stream with a message per token, one with larger messages, and unary.

Measured twice: with defaults but without jump-forward, so that all subjects have the same engine,
and as in production, with TLS, a caller's token, metrics and jump-forward.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.callers_file import write_callers
from bench.performance.server import genir_server
from bench.performance.subjects.base import READY_SECONDS, Call, ServedFrontEnd, Start
from bench.performance.subjects.callers import make_calls
from bench.performance.subjects.waiting import until_serving
from bench.support.certificates import LOCALHOST, Authority
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from bench.performance.subjects.base import EngineSetting, Load
    from bench.performance.workload import Case

NAME = "genir"
EVERYTHING_ON_NAME = "genir, everything on"
STREAM = "stream"
COALESCED = "stream, 16 tokens a message"
UNARY = "unary"
TOKENS_COALESCED = 16


class Genir(ServedFrontEnd):
    """A genir server.

    Args:
        setting: its engine.
    """

    name: str = NAME
    ways: tuple[str, ...] = (STREAM, COALESCED, UNARY)

    def __init__(self, setting: EngineSetting) -> None:
        self._setting = setting

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts ``genir serve`` and waits for its readiness."""
        setting = self._setting
        arguments = ["--model", setting.model, "--served-model-name", setting.served_name]
        arguments += ["--max-model-len", str(setting.max_model_len)]
        for name, value in {"dtype": setting.dtype, **setting.engine_args}.items():
            text = value if isinstance(value, str) else json.dumps(value)
            arguments += ["--engine-args", f"{name}={text}"]
        arguments += ["--structured-output-backend", setting.backend]
        arguments += self._arguments(stack)
        self.server = stack.enter_context(
            genir_server(
                arguments, module=setting.module("genir_server"), environment=setting.environment
            )
        )
        channel = await stack.enter_async_context(self._channel())
        self._stub: Any = ir_service_pb2_grpc.IRServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        await until_serving(health, health_pb2.HealthCheckRequest(service="liveness"), self.server)
        live = self.since_start()
        await until_serving(health, health_pb2.HealthCheckRequest(), self.server)
        return Start(live, self.since_start())

    def _arguments(self, stack: AsyncExitStack) -> list[str]:  # noqa: ARG002 - other subjects need it.
        # The same engine for all subjects. Jump-forward has its own bench.
        return ["--jump-forward", "off"]

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.server.target)

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


class GenirEverythingOn(Genir):
    """A genir server with TLS, a caller's token, Prometheus metrics and jump-forward."""

    name: str = EVERYTHING_ON_NAME
    ways: tuple[str, ...] = (STREAM, UNARY)

    def _arguments(self, stack: AsyncExitStack) -> list[str]:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genir-bench-")))
        authority = Authority()
        self._authority_certificate = authority.certificate
        authority.issue("localhost", *LOCALHOST).write(folder / "cert.pem", folder / "key.pem")
        self._token = secrets.token_urlsafe(32)
        return [
            *("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")),
            *("--auth-file", str(write_callers(folder, {"bench": self._token}))),
            *("--metrics-port", "0", "--jump-forward", "auto"),
        ]

    def _channel(self) -> grpc.aio.Channel:
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(self._authority_certificate),
            grpc.access_token_call_credentials(self._token),
        )
        return grpc.aio.secure_channel(f"localhost:{self.server.port}", credentials)


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
