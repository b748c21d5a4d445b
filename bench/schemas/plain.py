"""Runs vLLM's own structured output over schemas, one backend at a time, in a process that may die.

This is what a caller gets without genir: vLLM's check of the request, then its backend with default
settings, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from genir_server.schema.isolation.framing import frame, read_frame_async
from genir_server.schema.limits import SchemaLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.schemas.corpus import Case
    from bench.schemas.rows import Row, RowsFile

BACKENDS = ("guidance", "xgrammar")
"""The backends that are measured."""

COMPILE_SECONDS = {"guidance": 1.0, "xgrammar": 10.0}
"""CPU seconds to check and compile one schema. For guidance slightly more than genir allows, for
xgrammar much more, because it would rarely finish otherwise."""

MEMORY_BYTES = SchemaLimits().probe_bytes
"""Memory for one schema, in addition to that of vLLM itself."""

INSTANCE_SECONDS = 20.0
"""CPU seconds for all instances of one schema."""

_START_SECONDS = 300.0
_WALL_SECONDS = 120.0
_OUT_OF_MEMORY = (b"memory allocation", b"MemoryError", b"bad_alloc", b"out of memory")
# Aborts of Rust and C++ both give SIGABRT. Standard error shows which one it was.
_MAX_STDERR_BYTES = 1 << 20


async def measure_plain(
    cases: Iterable[Case], rows: RowsFile, tokenizer: str, backend: str
) -> None:
    """Compiles every schema without a row and checks its instances.

    Args:
        cases: the schemas.
        rows: receives the results.
        tokenizer: model folder.
        backend: one of `BACKENDS`.

    Raises:
        RuntimeError: the process with vLLM does not start. The message is its last output.

    """
    process: _PlainProcess | None = None
    try:
        for case in cases:
            if case.key in rows:
                continue
            if process is None:
                process = await _PlainProcess.start(backend, tokenizer)
            row: Row = {"id": case.key, "dataset": case.dataset}
            outcome = await process.measure(case)
            if outcome.get("died"):
                await process.close()
                process = None
            rows.append(row | outcome)
    finally:
        if process is not None:
            await process.close()


class _PlainProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, backend: str, tokenizer: str) -> _PlainProcess:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "VLLM_LOGGING_LEVEL": "ERROR",
            # Error reports of the matcher, one for each refused token.
            "LLGUIDANCE_LOG_LEVEL": "0",
        }
        process = cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bench.schemas.plain_worker",
                backend,
                tokenizer,
                str(COMPILE_SECONDS[backend]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await process._read()
        except (asyncio.IncompleteReadError, TimeoutError):
            _, last = await process._end()
            detail = last.decode(errors="replace")[-1000:]
            raise RuntimeError(f"vLLM's {backend} does not start: {detail}") from None
        return process

    async def measure(self, case: Case) -> Row:
        """Outcome of a schema: `outcome`, and with "accepted" the fields of `Outcomes`.

        `outcome` is one of "accepted", "refused", "timeout", "memory" and "crash"; `died` is set
        when the process can no longer be used.
        """
        request = {
            "schema": case.text,
            "instances": [[instance.value, instance.valid] for instance in case.instances],
        }
        result: Row = {}
        try:
            async with asyncio.timeout(_WALL_SECONDS):
                self._write(json.dumps(request).encode())
                result = await self._read()
                if result["outcome"] == "accepted":
                    result |= await self._read()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            why = _cause(*await self._end())
            if result.get("outcome") == "accepted":
                # The engine would have accepted it, and all of its requests would have been hit.
                return result | {"while_writing": why, "died": True}
            return {"outcome": why, "died": True}
        return result

    async def close(self) -> None:
        await self._end()

    def _write(self, body: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was started with a pipe
        self._process.stdin.write(frame(body))

    async def _read(self) -> Row:
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        reply: Row = json.loads(await read_frame_async(self._process.stdout))
        return reply

    async def _end(self) -> tuple[int, bytes]:
        """Ends the process if it runs. Returns its exit code and the end of its standard error."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        assert self._process.stderr is not None  # noqa: S101 - it was started with a pipe
        last = await self._process.stderr.read(_MAX_STDERR_BYTES)
        return await self._process.wait(), last


def _cause(status: int, last: bytes) -> str:
    # SIGKILL comes from this module, at the wall-clock limit.
    if status in (-signal.SIGPROF, -signal.SIGKILL):
        return "timeout"
    if any(sign in last for sign in _OUT_OF_MEMORY):
        return "memory"
    return "crash"
