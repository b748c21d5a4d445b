"""Runs 100 varied prompts with the built-in schema and default sampling against real servers.

``python -m bench.generation --out results.json`` starts one server per backend, one after the
other, and reports for each: the share of OK answers, the p50 and p95 of their latency in seconds,
tokens, and the outcomes by reason. Latency is what the client sees, with ``--concurrency`` calls
in flight. The servers run the embedded model, or what the arguments after ``--`` say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.local_server import local_server
from genir import AsyncIRClient, GenirError

PROMPTS = Path(__file__).with_name("prompts.txt")
BACKENDS = ("guidance", "xgrammar", "auto")
READY_SECONDS = 3600.0
"""Large models take long to load."""
CALL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call: its outcome, seconds, tokens and attempts."""

    reason: str
    seconds: float
    completion_tokens: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class BackendResult:
    """One backend over all prompts. Latencies count OK answers only."""

    backend: str
    effective_backend: str
    calls: int
    ok: int
    ok_share: float
    p50_seconds: float
    p95_seconds: float
    max_seconds: float
    median_tokens: float
    second_attempts: int
    outcomes: dict[str, int]


def main() -> int:
    """Measures every backend and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    parser.add_argument("--prompts", type=int, default=100, help="how many of the prompts")
    parser.add_argument("--concurrency", type=int, default=4, help="calls in flight")
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument(
        "server", nargs="*", metavar="-- SERVER ARGUMENT", help="passed to each server"
    )
    options = parser.parse_args()
    prompts = PROMPTS.read_text().splitlines()[: options.prompts]
    results = []
    for backend in options.backends:
        results.append(_measure_backend(backend, prompts, options.concurrency, options.server))
        print(_row(results[-1]), flush=True)
    report = {
        "prompts": len(prompts),
        "concurrency": options.concurrency,
        "backends": [asdict(result) for result in results],
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    print("\n| backend | in use | OK | p50 s | p95 s | max s | tokens | outcomes |")
    print("|---|---|---|---|---|---|---|---|")
    for result in results:
        print(_row(result))
    return 0


def _measure_backend(
    backend: str, prompts: list[str], concurrency: int, arguments: list[str]
) -> BackendResult:
    with local_server(["--structured-output-backend", backend, *arguments]) as target:
        return asyncio.run(_measure(target, backend, prompts, concurrency))


async def _measure(
    target: str, backend: str, prompts: list[str], concurrency: int
) -> BackendResult:
    places = asyncio.Semaphore(concurrency)
    async with AsyncIRClient(target, timeout=CALL_SECONDS) as client:
        await client.wait_ready(READY_SECONDS)

        async def call(prompt: str) -> Outcome:
            async with places:
                began = time.monotonic()
                try:
                    result = await client.generate(prompt)
                except GenirError as error:
                    tokens = error.usage.completion_tokens if error.usage else 0
                    return Outcome(error.reason, time.monotonic() - began, tokens)
                return Outcome(
                    "OK",
                    time.monotonic() - began,
                    result.usage.completion_tokens,
                    len(result.attempts),
                )

        outcomes = await asyncio.gather(*map(call, prompts))
        effective = (await client.health()).structured_output_backend
    good = [outcome for outcome in outcomes if outcome.reason == "OK"]
    seconds = sorted(outcome.seconds for outcome in good) or [float("nan")]
    return BackendResult(
        backend=backend,
        effective_backend=effective,
        calls=len(outcomes),
        ok=len(good),
        ok_share=len(good) / len(outcomes),
        p50_seconds=round(statistics.median(seconds), 2),
        p95_seconds=round(seconds[int(0.95 * (len(seconds) - 1))], 2),
        max_seconds=round(seconds[-1], 2),
        median_tokens=statistics.median([outcome.completion_tokens for outcome in good] or [0]),
        second_attempts=sum(outcome.attempts > 1 for outcome in good),
        outcomes=dict(Counter(outcome.reason for outcome in outcomes)),
    )


def _row(result: BackendResult) -> str:
    outcomes = ", ".join(f"{reason} {count}" for reason, count in sorted(result.outcomes.items()))
    return (
        f"| {result.backend} | {result.effective_backend} | {result.ok_share:.0%} "
        f"| {result.p50_seconds} | {result.p95_seconds} | {result.max_seconds} "
        f"| {result.median_tokens:.0f} | {outcomes} |"
    )


if __name__ == "__main__":
    sys.exit(main())
