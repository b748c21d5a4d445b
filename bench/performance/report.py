"""Writes a result as Markdown: ``python -m bench.performance.report result.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Row = dict[str, Any]

_IN_PROCESS = "in process"
_IDS = "stream of token ids"
_STREAM = "stream"
_WHOLE = "whole"


def markdown(result: dict[str, Any]) -> str:
    """Every table of a result, with its command."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    machine_line = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"dtype {machine.get('dtype', 'auto')}; "
        f"Python {machine['python']}, {versions}; load before: {machine['load_before']:.1f}; "
        f"it took {result.get('seconds', 0) // 60} minutes."
    )
    parts = [f"`{result['command']}`", machine_line]
    parts += [f"Left out: {line}." for line in result.get("left_out", ())]
    if "front_ends" in result:
        compared = result["front_ends"]
        parts += ["### Front ends", front_end_table(compared["measured"])]
        parts += ["### What a front end adds", added_table(compared["measured"])]
        parts += ["### Start and memory", start_table(compared)]
        if compared["same_text"]:
            parts += ["Same value as most, calls made alone at temperature 0: " + _shares(compared)]
    if "replay_core" in result:
        replayed = result["replay_core"]["measured"]
        parts += ["### AsyncLLM with a replayed engine core (a bench tool)"]
        parts += [front_end_table(replayed), added_table(replayed)]
    if "replay" in result:
        parts += ["### Replay (a bench tool's engine)", replay_table(result["replay"])]
    if "schema_cost" in result:
        parts += ["### What a schema costs", schema_cost_table(result["schema_cost"])]
    if "backends" in result:
        parts += ["### Backends", backend_table(result["backends"]["results"])]
        parts += ["### Compiling", compile_table(result["backends"]["compile"])]
    return "\n\n".join(parts)


def front_end_table(measured: Sequence[Row]) -> str:
    """TTFT, pace and throughput by concurrency: median and range over the rounds."""
    return _table(
        (
            "in flight",
            "front end",
            "way",
            "TTFT ms",
            "ms/token",
            "s/IR",
            "tokens/s",
            "IRs/s",
            "valid",
            "tokens/message",
        ),
        (
            (
                row["concurrency"],
                row["front_end"],
                row["way"],
                _spread(row["ttft"], 1000, 0),
                _spread(row["tpot"], 1000, 1) if row["way"] not in ("unary", _WHOLE) else "",
                _spread(row["ir_seconds"], 1, 2),
                _spread(row["tokens_per_second"], 1, 0),
                _spread(row["irs_per_second"], 1, 2),
                f"{row['valid_share']:.0%}",
                f"{row['tokens_per_message']:.1f}",
            )
            for row in sorted(measured, key=lambda row: row["concurrency"])
        ),
    )


def added_table(measured: Sequence[Row]) -> str:
    """CPU seconds of the front end's process, and the difference to AsyncLLM alone.

    AsyncLLM is measured in the same mode: streamed, in one piece, or token ids without text.
    """
    own = {
        (row["way"], row["concurrency"]): row for row in measured if row["front_end"] == _IN_PROCESS
    }

    def cells(row: Row) -> tuple[object, ...]:
        way = row["way"]
        alike = _IDS if way == _IDS else _WHOLE if way in ("unary", _WHOLE) else _STREAM
        base = own.get((alike, row["concurrency"]))

        def added(key: str) -> str:
            return f"{row[key]['median'] - base[key]['median']:+.3f}" if base else ""

        return (
            row["concurrency"],
            row["front_end"],
            way,
            _spread(row["cpu_per_1000_tokens"], 1, 3),
            added("cpu_per_1000_tokens"),
            _spread(row["cpu_per_1000_calls"], 1, 1),
            added("cpu_per_1000_calls"),
        )

    return _table(
        (
            "in flight",
            "front end",
            "way",
            "CPU s/1,000 tokens",
            "added",
            "CPU s/1,000 calls",
            "added",
        ),
        map(cells, sorted(measured, key=lambda row: row["concurrency"])),
    )


def start_table(compared: Row) -> str:
    """Seconds to liveness and readiness, memory, and CPU while idle."""
    return _table(
        ("front end", "live s", "ready s", "resident MiB", "idle, share of a core"),
        (
            (
                name,
                "" if start["live"] is None else f"{start['live']:.1f}",
                f"{start['ready']:.1f}",
                f"{start['resident_bytes'] / 2**20:.0f}",
                f"{start['idle_cpu_share']:.3f}",
            )
            for name, start in compared["starts"].items()
        ),
    )


def replay_table(carried: Sequence[Row]) -> str:
    """Capacity of one core."""
    return _table(
        (
            "streams",
            "tokens/s each",
            "tokens a message",
            "tokens/s",
            "messages/s",
            "tokens per CPU s",
            "core used",
            "caller's core",
            "gap p50 ms",
            "gap p99 ms",
        ),
        (
            (
                row["streams"],
                f"{row['pace']:.0f}" if row["pace"] else "as fast as asked",
                row["tokens_per_delta"],
                f"{row['tokens_per_second']:,.0f}",
                f"{row['messages_per_second']:,.0f}",
                f"{row['capacity']:,.0f}",
                f"{row['cpu_share']:.0%}",
                f"{row['client_share']:.0%}",
                f"{1000 * row['gap_p50']:.1f}",
                f"{1000 * row['gap_p99']:.1f}",
            )
            for row in carried
        ),
    )


def schema_cost_table(costs: Sequence[Row]) -> str:
    """TTFT by size of the schema."""
    return _table(
        ("schema bytes", "front end", "schema", "TTFT ms", "front end's CPU ms/call"),
        (
            (
                row["size"],
                row["front_end"],
                row["schema"],
                _spread(row["ttft"], 1000, 1),
                _spread(row["cpu_seconds"], 1000, 1),
            )
            for row in sorted(costs, key=lambda row: row["size"])
        ),
    )


def backend_table(results: Sequence[Row]) -> str:
    """Backends by size and temperature."""
    return _table(
        (
            "bytes",
            "temperature",
            "schemas",
            "backend",
            "OK",
            "TTFT ms",
            "s/IR",
            "tokens/s",
            "outcomes",
        ),
        (
            (
                row["size"],
                f"{row['temperature']:g}",
                row["schemas"],
                row["backend"],
                f"{row['ok_share']:.0%}",
                f"{1000 * row['ttft']:.0f}",
                f"{row['ir_seconds']:.2f}",
                f"{row['tokens_per_second']:.0f}",
                ", ".join(f"{name} {count}" for name, count in sorted(row["outcomes"].items())),
            )
            for row in results
        ),
    )


def compile_table(rows: Sequence[Row]) -> str:
    """CPU time of compilation."""
    return _table(
        ("bytes", "backend", "CPU ms"),
        ((row["size"], row["backend"], f"{1000 * row['seconds']:.1f}") for row in rows),
    )


def _spread(spread: Row, factor: float, digits: int) -> str:
    low, median, high = (factor * spread[key] for key in ("low", "median", "high"))
    if low == high:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _shares(compared: Row) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in compared["same_text"].items())


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    line: Callable[[Iterable[object]], str] = lambda cells: f"| {' | '.join(map(str, cells))} |"  # noqa: E731
    return "\n".join([line(head), f"|{'---|' * len(head)}", *map(line, rows)])


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
