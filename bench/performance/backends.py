"""Compares structured-output backends, each in its own genir server."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import statistics
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import grpc

from bench.performance.sized_schemas import sized_schema
from bench.performance.subjects import genir
from bench.performance.subjects.genir import Genir
from bench.performance.workload import prompt_cases
from bench.support.model_folder import tokenizer_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.performance.scopes import BackendScope
    from bench.performance.subjects.base import Call, EngineSetting
    from bench.performance.workload import Case

_MAX_TOKENS = 400
_COMPILED = 4


@dataclass(frozen=True, slots=True)
class BackendResult:
    """One backend with schemas of one size. Seconds are medians over OK answers.

    OK means, as everywhere in genir, that the answer was verified against the schema.
    """

    backend: str
    schemas: str
    size: int
    temperature: float
    calls: int
    ok_share: float
    outcomes: dict[str, int]
    ttft: float
    ir_seconds: float
    tokens_per_second: float


async def compare_backends(
    setting: EngineSetting,
    scope: BackendScope,
    keep: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
) -> None:
    """Measures the backends alternately, with the same prompts and schemas.

    Calls `keep` with the results so far after each size and temperature, and at the end.
    """
    compiled = _compile_times(setting, scope)
    cases = prompt_cases(setting.model, scope.calls)
    results: list[dict[str, Any]] = []
    numbers = itertools.count(1)
    async with AsyncExitStack() as stack:
        servers = {}
        for backend in scope.backends:
            server = Genir(dataclasses.replace(setting, backend=backend))
            await server.start(stack)
            # "auto" chooses at its first request, so the first request of no backend is measured.
            await _measure(server, cases[:1], 1)
            servers[backend] = server
        for size, temperature in itertools.product(scope.sizes, scope.temperatures):
            unique = [sized_schema(size, next(numbers)) for _ in cases]
            for kind, schemas in (("unique", unique), ("repeated", unique[:1] * len(cases))):
                asked = [
                    dataclasses.replace(
                        case, schema=schema, temperature=temperature, max_tokens=_MAX_TOKENS
                    )
                    for case, schema in zip(cases, schemas, strict=True)
                ]
                for backend, server in servers.items():
                    measured = await _measure(server, asked, scope.concurrency)
                    results.append(
                        asdict(BackendResult(backend, kind, size, temperature, **measured))
                    )
            keep({"results": results, "compile": compiled})
            say(f"backends: {size} bytes at temperature {temperature:g}: done")


async def _measure(server: Genir, cases: list[Case], concurrency: int) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    answers: list[Call] = []
    waiting = iter(cases)

    async def caller() -> None:
        for case in waiting:
            try:
                load = await server.load(genir.STREAM, [case], 1)
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            else:
                outcomes["OK"] += 1
                answers.extend(load.calls)

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    seconds = time.monotonic() - began
    return {
        "calls": len(cases),
        "ok_share": outcomes["OK"] / len(cases),
        "outcomes": dict(outcomes),
        "ttft": statistics.median([call.first for call in answers] or [float("nan")]),
        "ir_seconds": statistics.median([call.total for call in answers] or [float("nan")]),
        "tokens_per_second": sum(call.tokens for call in answers) / seconds,
    }


def _compile_times(setting: EngineSetting, scope: BackendScope) -> list[dict[str, Any]]:
    """CPU seconds to compile a schema in this process, with the same library calls as vLLM."""
    import xgrammar
    from transformers import AutoTokenizer

    from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer

    tokenizer = load_tokenizer(tokenizer_in(setting.model))
    vocabulary = xgrammar.TokenizerInfo.from_huggingface(
        AutoTokenizer.from_pretrained(setting.model)
    )

    def guidance(schema: str) -> None:
        compile_matcher(tokenizer, schema)

    def with_xgrammar(schema: str) -> None:
        # A new compiler each time, because it caches what it has compiled.
        compiler = xgrammar.GrammarCompiler(vocabulary, max_threads=1)
        compiler.compile_json_schema(schema, any_whitespace=False)

    rows = []
    for size in scope.sizes:
        schemas = [sized_schema(size, 10_000 + number) for number in range(_COMPILED)]
        for name, compile_schema in (("guidance", guidance), ("xgrammar", with_xgrammar)):
            seconds = []
            for schema in schemas:
                before = time.process_time()
                compile_schema(schema)
                seconds.append(time.process_time() - before)
            rows.append({"backend": name, "size": size, "seconds": statistics.median(seconds)})
    return rows
