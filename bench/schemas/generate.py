"""Generates under public schemas through a real server.

``python -m bench.schemas.generate DATA OUT`` takes the same number of schemas of every data set,
the same for the same seed, starts a server on the embedded model, and generates one value under
each. python-jsonschema checks OK answers. OUT is the result as JSON, ``OUT.md`` its table. In
``OUT.calls.jsonl`` is the outcome of every call. An interrupted run resumes from it. The server's
log is in ``OUT.server.log``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.interruption import EXIT_CODE, treat_terminate_as_interrupt
from bench.local_server import local_server
from bench.schemas.corpus import cases, rank
from bench.schemas.report import NOTHING, as_dict, share, spread, table
from bench.schemas.rows import OtherRunError, Row, RowsFile
from bench.schemas.second_validator import CannotValidateError, second_opinion
from genir import AsyncIRClient, GenirError
from genir.types import Accepted, AttemptStarted, Completed, Enforcement, TextDelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.schemas.corpus import Case
    from genir import IRResult

_READY_SECONDS = 600.0
_MAX_TOPIC_CHARACTERS = 300
_PROGRESS_EVERY = 20
# Reasons that refuse a schema before anything is generated.
_REFUSALS = frozenset({"SCHEMA_INVALID", "SCHEMA_UNSUPPORTED", "SCHEMA_TOO_COMPLEX"})
_DEAD = frozenset({"ENGINE_DEAD", "UNAVAILABLE"})
_MAX_SERVERS = 4
_KINDS = ("exact", "relaxed", "refused", "unknown")


def main() -> int:
    """Reads the arguments and runs. Ends with 1 when the second validator refuses an OK answer."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemas.generate")
    parser.add_argument("data", type=Path, help="folder of JSON Lines files, one a data set")
    parser.add_argument("out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("--per-dataset", type=int, default=14, help="schemas of each data set")
    parser.add_argument("--datasets", nargs="*", default=[], help="only these, by name")
    parser.add_argument("--seed", type=int, default=0, help="chooses the sample, and the sampling")
    parser.add_argument("--concurrency", type=int, default=4, help="calls in flight")
    parser.add_argument("--max-tokens", type=int, default=512, help="maximum tokens of one attempt")
    parser.add_argument(
        "--on-budget", choices=["close", "fail"], default="close", help="when they do not suffice"
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one call")
    parser.add_argument("--server", help="HOST:PORT of a server that runs; default: start one")
    parser.add_argument("--fresh", action="store_true", help="do not resume an earlier run")
    options = parser.parse_args()
    treat_terminate_as_interrupt()
    settings: Row = {
        name: getattr(options, name)
        for name in ("per_dataset", "seed", "concurrency", "max_tokens", "on_budget", "timeout")
    }
    path = options.out.with_name(options.out.name + ".calls.jsonl")
    try:
        chosen = list(cases(options.data, options.datasets, options.per_dataset, options.seed))
        # Shuffled, so that a partial run covers every data set.
        chosen.sort(key=lambda case: rank(options.seed, case.key))
        with RowsFile(path, settings, fresh=options.fresh) as rows:
            deaths = _generate_all(chosen, rows, options)
            result = {"settings": settings, "engine_deaths": deaths} | summed(rows.rows)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_CODE
    except (OtherRunError, FileNotFoundError, _EngineKeepsDyingError) as fault:
        print(fault, file=sys.stderr)
        return 2
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    tables = markdown(result)
    options.out.with_name(options.out.name + ".md").write_text(tables)
    print(tables)
    return 1 if as_dict(result["all"])["second_validator_refused"] else 0


class _EngineKeepsDyingError(Exception):
    """The engine died repeatedly with the same schemas."""


def _generate_all(chosen: Sequence[Case], rows: RowsFile, options: argparse.Namespace) -> int:
    """Makes every call without a row. Returns how often the engine died.

    Calls that ended with the engine's death have no outcome. They are made again on a new server,
    where a schema that kills engines would do so again.

    Raises:
        _EngineKeepsDyingError: it dies repeatedly. The message names the schemas.

    """
    for deaths in range(_MAX_SERVERS):
        left = [case for case in chosen if case.key not in rows]
        if not left:
            return deaths
        with ExitStack() as stack:
            target = options.server or stack.enter_context(local_server(log=_log(options)))
            orphans = asyncio.run(_generate(target, left, rows, options))
        if not orphans:
            return deaths
        print(f"the engine died over one of: {', '.join(orphans)}", file=sys.stderr)
    raise _EngineKeepsDyingError(f"the engine died {_MAX_SERVERS} times; see {_log(options)}")


def _log(options: argparse.Namespace) -> Path:
    out: Path = options.out
    return out.with_name(out.name + ".server.log")


async def _generate(
    target: str, left: Iterable[Case], rows: RowsFile, options: argparse.Namespace
) -> list[str]:
    """Makes calls until all are made or the engine dies. Returns the calls without an outcome."""
    orphans: list[str] = []
    places = asyncio.Semaphore(options.concurrency)
    # No retries: an outcome is that of one call.
    async with AsyncIRClient(target, timeout=options.timeout) as client:
        await client.wait_ready(_READY_SECONDS)

        async def one(case: Case) -> None:
            try:
                row = await _call(client, case, options)
            finally:
                places.release()
            if row["reason"] in _DEAD:
                orphans.append(f"{case.key} ({row['reason']} after {row['seconds']:.0f} s)")
                return
            rows.append(row)
            if len(rows.rows) % _PROGRESS_EVERY == 0:
                print(f"{len(rows.rows)} calls done", file=sys.stderr, flush=True)

        async with asyncio.TaskGroup() as group:
            for case in left:
                await places.acquire()
                if orphans:
                    break
                group.create_task(one(case))
    return orphans


async def _call(client: AsyncIRClient, case: Case, options: argparse.Namespace) -> Row:
    row: Row = {"id": case.key, "dataset": case.dataset, "kind": "unknown", "attempts": 0}
    began = time.monotonic()
    seed = int(hashlib.sha256(f"{options.seed} {case.key}".encode()).hexdigest()[:8], 16) >> 1
    call = client.stream(
        _prompt(case.text),
        schema=case.text,
        max_tokens=options.max_tokens,
        on_budget=options.on_budget,
        seed=seed,
    )
    try:
        async with call as stream:
            async for event in stream:
                match event:
                    case Accepted():
                        row["kind"] = "exact"
                        for notice in event.schema_notices:
                            if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING:
                                row["kind"] = "relaxed"
                        row["schema_shown"] = event.schema_shown.value
                    case AttemptStarted():
                        row["attempts"] = event.number
                    case TextDelta() if event.token_count and "ttft_seconds" not in row:
                        row["ttft_seconds"] = time.monotonic() - began
                    case Completed():
                        row |= {"reason": "OK", **_second(case.text, event.result.ir_json)}
                        row["tokens"] = event.result.usage.completion_tokens
                        row["kept_tokens"] = _kept_tokens(event.result)
                        row["closed_early"] = bool(event.result.closed_early)
    except GenirError as error:
        row |= {"reason": error.reason, "message": error.message[:300]}
        row["tokens"] = error.usage.completion_tokens if error.usage else 0
        row["violated"] = sorted({violation.keyword for violation in error.violations})
        row["violation"] = next((violation.message for violation in error.violations), "")
        if error.reason in _REFUSALS:
            row["kind"] = "refused"
    row["seconds"] = time.monotonic() - began
    return row


def _kept_tokens(result: IRResult[object]) -> int:
    """Tokens that the model wrote and that are in the result."""
    last = result.attempts[-1]
    dropped = sum(resumption.dropped_tokens for resumption in last.resumptions)
    return last.usage.completion_tokens - dropped


def _second(schema: str, answer: str) -> Row:
    try:
        fault = second_opinion(schema, answer)
    except CannotValidateError as why:
        return {"second": "not checked", "second_message": str(why)}
    if fault is None:
        return {"second": "valid"}
    return {"second": "refused", "second_message": fault, "answer": answer[:2000]}


def _prompt(schema: str) -> str:
    """The prompt, made from the title or description of the schema if there is one."""
    parsed = json.loads(schema)
    told = (
        [parsed.get(name) for name in ("title", "description")] if isinstance(parsed, dict) else []
    )
    topic = ". ".join(text.strip(" .") for text in told if isinstance(text, str) and text.strip())
    if not topic:
        return "Write one realistic example."
    return f"Write one realistic example of this: {topic[:_MAX_TOPIC_CHARACTERS]}."


def summed(rows: Sequence[Row]) -> Row:
    """The sums over all calls, by kind of enforcement, and by data set."""
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in _KINDS}
    names = sorted({str(row["dataset"]) for row in rows})
    return {
        "all": _sums(rows),
        "kinds": {kind: _sums(of_kind) for kind, of_kind in kinds.items() if of_kind},
        "datasets": {name: _sums([r for r in rows if r["dataset"] == name]) for name in names},
    }


def _sums(rows: Sequence[Row]) -> Row:
    good = [row for row in rows if row["reason"] == "OK"]
    second = Counter(str(row["second"]) for row in good)
    return {
        "schemas": len(rows),
        "ok": len(good),
        "outcomes": dict(Counter(str(row["reason"]) for row in rows).most_common()),
        "second_validator_valid": second["valid"],
        "second_validator_refused": second["refused"],
        "second_validator_cannot": second["not checked"],
        "attempts": {
            str(number): count
            for number, count in sorted(Counter(int(str(row["attempts"])) for row in rows).items())
            if number
        },
        "ok_attempts": {
            str(number): count
            for number, count in sorted(Counter(int(str(row["attempts"])) for row in good).items())
        },
        "violated_keywords": dict(
            Counter(
                str(keyword) for row in rows for keyword in _strings(row.get("violated"))
            ).most_common()
        ),
        "closed_early": sum(bool(row.get("closed_early")) for row in good),
        "tokens": sum(int(str(row["tokens"])) for row in rows),
        "kept_tokens": sum(int(str(row.get("kept_tokens", 0))) for row in good),
        "milliseconds": {
            "ttft": spread(
                float(str(row["ttft_seconds"])) for row in rows if "ttft_seconds" in row
            ),
            "ok_total": spread(float(str(row["seconds"])) for row in good),
        },
    }


def _strings(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def markdown(result: Row) -> str:
    """The outcomes as tables."""
    kinds = {name: as_dict(of) for name, of in as_dict(result["kinds"]).items()}
    columns = {**kinds, "all": as_dict(result["all"])}
    reasons = {reason for of in columns.values() for reason in as_dict(of["outcomes"])} - {"OK"}
    lines: list[tuple[object, ...]] = [
        ("schemas", *(of["schemas"] for of in columns.values())),
        ("OK", *(of["ok"] for of in columns.values())),
        ("OK, of those not refused", *map(_ok_share, columns.values())),
        ("valid by the second validator", *map(_second_share, columns.values())),
        ("which it cannot check", *(of["second_validator_cannot"] for of in columns.values())),
        *(
            (reason, *(as_dict(of["outcomes"]).get(reason, 0) for of in columns.values()))
            for reason in sorted(reasons)
        ),
        ("OK, ended early", *(of["closed_early"] for of in columns.values())),
        ("tokens for each token kept", *map(_spent_per_kept, columns.values())),
        ("attempts: calls", *(_histogram(of["attempts"]) for of in columns.values())),
        ("first token p50 / p99 / max, s", *(_seconds(of, "ttft") for of in columns.values())),
        ("OK after p50 / p99 / max, s", *(_seconds(of, "ok_total") for of in columns.values())),
    ]
    return table(("", *columns), lines) + "\n"


def _ok_share(of: Row) -> str:
    refused = sum(
        int(str(count)) for reason, count in as_dict(of["outcomes"]).items() if reason in _REFUSALS
    )
    return share(of["ok"], int(str(of["schemas"])) - refused)


def _spent_per_kept(of: Row) -> str:
    kept = int(str(of["kept_tokens"]))
    return f"{int(str(of['tokens'])) / kept:.2f}" if kept else NOTHING


def _second_share(of: Row) -> str:
    checked = int(str(of["ok"])) - int(str(of["second_validator_cannot"]))
    return f"{of['second_validator_valid']} of {checked}" if checked else NOTHING


def _histogram(of: object) -> str:
    return ", ".join(f"{number}: {count}" for number, count in as_dict(of).items()) or NOTHING


def _seconds(of: Row, name: str) -> str:
    times = as_dict(as_dict(of["milliseconds"])[name])
    if not any(times.values()):
        return NOTHING
    return " / ".join(f"{float(str(time)) / 1e3:.1f}" for time in times.values())


if __name__ == "__main__":
    sys.exit(main())
