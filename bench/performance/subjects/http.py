"""vLLM's own HTTP server: the completions API with a JSON schema as response format."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from bench.performance.server import free_port, running
from bench.performance.subjects.base import READY_SECONDS, Call, ServedFrontEnd, Start
from bench.performance.subjects.callers import make_calls
from bench.performance.subjects.vllm_arguments import command_line, environment
from bench.performance.subjects.waiting import check_alive

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from bench.performance.subjects.base import EngineSetting, Load
    from bench.performance.workload import Case

NAME = "vLLM HTTP"
STREAM = "stream"
UNARY = "unary"

_KEPT = 600
"""Seconds that both ends keep an idle connection. It idles while other front ends are measured. A
server that closes it meanwhile (after 5 s by default) makes a call fail."""


class VllmHttp(ServedFrontEnd):
    """``vllm.entrypoints.openai.api_server``, without its access log."""

    name = NAME
    ways: tuple[str, ...] = (STREAM, UNARY)

    def __init__(self, setting: EngineSetting) -> None:
        self._setting = setting

    async def start(self, stack: AsyncExitStack) -> Start:
        """Starts it and waits for /health."""
        port = free_port()
        command = [sys.executable, *self._setting.module("vllm.entrypoints.openai.api_server")]
        command += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
        command += command_line(self._setting)
        self.server = stack.enter_context(
            running(
                command,
                port=port,
                environment=environment()
                | self._setting.environment
                | {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(_KEPT)},
            )
        )
        self._session = await stack.enter_async_context(
            aiohttp.ClientSession(
                f"http://{self.server.target}",
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT / 2),
                timeout=aiohttp.ClientTimeout(READY_SECONDS),
            )
        )
        await self._wait()
        # It does not answer before it is ready.
        return Start(None, self.since_start())

    async def load(self, way: str, cases: list[Case], concurrency: int) -> Load:
        """Makes the calls."""
        call = {STREAM: self._stream, UNARY: self._unary}[way]
        return await make_calls(call, cases, concurrency, self.server.cpu_seconds)

    async def _wait(self) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                check_alive(self.server)
                try:
                    async with self._session.get("/health") as answer:
                        if answer.ok:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)

    def _body(self, case: Case) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._setting.served_name,
            "prompt": case.prompt,
            "temperature": case.temperature,
            "top_p": 1.0,
            "seed": case.seed,
            "max_tokens": case.max_tokens,
        }
        if case.schema is not None:
            schema = {"name": "ir", "schema": json.loads(case.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def _stream(self, case: Case) -> Call:
        body = self._body(case) | {"stream": True, "stream_options": {"include_usage": True}}
        began = time.monotonic()
        first = 0.0
        texts: list[str] = []
        tokens = 0
        async with self._session.post("/v1/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line.removeprefix(b"data: "))
                if event["choices"]:
                    first = first or time.monotonic() - began
                    texts.append(event["choices"][0]["text"])
                if event.get("usage"):
                    tokens = event["usage"]["completion_tokens"]
        return Call(first, time.monotonic() - began, tokens, len(texts), "".join(texts))

    async def _unary(self, case: Case) -> Call:
        began = time.monotonic()
        async with self._session.post("/v1/completions", json=self._body(case)) as answer:
            answer.raise_for_status()
            result = await answer.json()
        total = time.monotonic() - began
        tokens = result["usage"]["completion_tokens"]
        return Call(total, total, tokens, 1, result["choices"][0]["text"])
