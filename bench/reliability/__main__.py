"""Measures what docs/reliability.md promises, on a real server with the tiny random-weight model.

``python -m bench.reliability --out results.json`` runs load at capacity and at ten times that,
kills and stops the engine, drains, and writes the figures as JSON and as Markdown on standard
output. Takes some minutes; the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.reliability import faults, load
from bench.support.tiny_server import TinyServer

RUNNING = 8
PLACES = 64
OVERLOAD = 10
STALL_SECONDS = 6.0
MEBIBYTE = 1 << 20


def main() -> int:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each load phase")
    parser.add_argument("--load-only", action="store_true", help="inject no faults")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="genir-bench-") as folder:
        server = TinyServer(
            Path(folder),
            "--max-concurrent-calls",
            str(PLACES),
            # All callers here are one host.
            "--max-calls-per-caller",
            str(PLACES),
            "--max-running-calls",
            str(RUNNING),
            "--engine-stall-timeout",
            str(STALL_SECONDS),
            "--drain-timeout",
            "600",
        )
        try:
            server.wait_ready()
            report = _measure(server, options.seconds, with_faults=not options.load_only)
        finally:
            server.close()
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(_markdown(report))
    return 0


def _measure(server: TinyServer, seconds: float, *, with_faults: bool) -> dict[str, Any]:
    # The first seconds compile schemas and fill caches.
    asyncio.run(load.at_capacity(server, min(seconds, 5.0), RUNNING))
    normal = asyncio.run(load.at_capacity(server, seconds, RUNNING))
    rate = OVERLOAD * normal.goodput
    over = asyncio.run(load.beyond_capacity(server, seconds, rate))
    report: dict[str, Any] = {
        "cores": os.cpu_count(),
        "offered_per_second": rate,
        "at_capacity": asdict(normal),
        "beyond_capacity": asdict(over),
        "goodput_share": over.goodput / normal.goodput if normal.goodput else 0.0,
    }
    if with_faults:
        report["engine_loss"] = [
            faults.lose_engine(server, "EngineCore", signal.SIGKILL),
            faults.lose_engine(server, "Worker", signal.SIGKILL),
            faults.lose_engine(server, "EngineCore", signal.SIGSTOP),
        ]
        report["drain"] = faults.drain(server)
    return report


def _markdown(report: dict[str, Any]) -> str:
    normal, over = report["at_capacity"], report["beyond_capacity"]
    grown = (over["memory_after"] - over["memory_before"]) / MEBIBYTE
    share, rates = report["goodput_share"], (over["goodput"], normal["goodput"])
    goodput = f"| {share:.0%} ({rates[0]:.1f} of {rates[1]:.1f} /s)"
    lines = [
        "| what | promised | measured |",
        "|---|---|---|",
        f"| goodput at {OVERLOAD} times the capacity, of that at capacity | 95 % {goodput} |",
        f"| refusals, p99 | 50 ms | {over['refusal_p99'] * 1000:.0f} ms |",
        f"| health probe under that load, p99 | 100 ms | {over['probe_p99'] * 1000:.0f} ms |",
        f"| calls past their deadline | 0 | {over['overruns']} of {over['calls']} |",
        f"| memory over the phase | flat | {grown:+.0f} MiB |",
    ]
    for name, phase in (("at capacity", normal), (f"at {OVERLOAD} times that", over)):
        shares = ", ".join(
            f"{of} {phase[key] / phase['seconds']:.2f}"
            for of, key in (
                ("server", "server_cpu"),
                ("engine", "engine_cpu"),
                ("callers", "callers_cpu"),
            )
        )
        lines.append(f"| cores in use {name} | | {shares} |")
    for loss in report.get("engine_loss", ()):
        what = f"{loss['signal']} to the {loss['process']} with {faults.STREAMS} streams"
        stopped = loss["signal"] == "SIGSTOP"
        promised = f"{STALL_SECONDS + 1:g} s" if stopped else "1 s"
        lines.append(
            f"| {what}: readiness off, last call ended | {promised} "
            f"| {loss['not_serving_after']} s, {loss['last_call_ended_after']} s; ready again "
            f"after {loss['ready_again_after']} s; {loss['processes_left']} processes left |"
        )
    if "drain" in report:
        drained = report["drain"]
        lines.append(
            f"| SIGTERM with {drained['calls']} calls in flight | 0 lost, exit 0 "
            f"| {drained['lost']} lost, exit {drained['exit_code']} "
            f"{drained['exit_after_last_answer']} s after the last answer |"
        )
    outcomes = ", ".join(f"{code} {count}" for code, count in sorted(over["outcomes"].items()))
    return "\n".join([*lines, "", f"Outcomes beyond capacity: {outcomes}."])


if __name__ == "__main__":
    sys.exit(main())
