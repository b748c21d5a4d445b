"""Plots a result with matplotlib: ``python -m bench.performance.plots RESULT FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FIGURES = (
    ("ttft", "TTFT, ms", 1000.0),
    ("tokens_per_second", "tokens/s", 1.0),
    ("ir_seconds", "seconds for a whole IR", 1.0),
    ("cpu_per_1000_tokens", "front end's CPU s per 1,000 tokens", 1.0),
)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draws the result as SVG files in the folder."""
    import matplotlib as mpl

    mpl.use("svg")
    # Makes the files reproducible.
    mpl.rcParams["svg.hashsalt"] = "genir"
    folder.mkdir(parents=True, exist_ok=True)
    if "front_ends" in result:
        for key, label, factor in FIGURES:
            _by_concurrency(result["front_ends"]["measured"], key, label, factor, folder)
    if "replay" in result:
        _replay(result["replay"], folder)
    if "schema_cost" in result:
        _schema_cost(result["schema_cost"], folder)


def _by_concurrency(
    measured: list[dict[str, Any]], key: str, label: str, factor: float, folder: Path
) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    ways = dict.fromkeys((row["front_end"], row["way"]) for row in measured)
    for front_end, way in ways:
        rows = sorted(
            (row for row in measured if (row["front_end"], row["way"]) == (front_end, way)),
            key=lambda row: row["concurrency"],
        )
        middle = [factor * row[key]["median"] for row in rows]
        below = [factor * (row[key]["median"] - row[key]["low"]) for row in rows]
        above = [factor * (row[key]["high"] - row[key]["median"]) for row in rows]
        at = [row["concurrency"] for row in rows]
        axes.errorbar(
            at, middle, (below, above), marker="o", capsize=3, label=f"{front_end}, {way}"
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("calls in flight")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    _save(figure, folder / f"{key.replace('_', '-')}.svg")


def _replay(carried: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    paced = [row for row in carried if row["pace"]]
    for tokens_per_delta in sorted({row["tokens_per_delta"] for row in paced}):
        rows = [row for row in paced if row["tokens_per_delta"] == tokens_per_delta]
        axes.plot(
            [row["streams"] for row in rows],
            [1000 * row["gap_p99"] for row in rows],
            marker="o",
            label=f"{tokens_per_delta} tokens a message",
        )
    axes.axhline(100, linestyle=":", color="grey")
    axes.set_xlabel("streams of 100 tokens/s (recorded, played back by a bench tool)")
    axes.set_ylabel("p99 gap between messages, ms")
    axes.set_yscale("log")
    axes.legend()
    _save(figure, folder / "replay-gaps.svg")


def _schema_cost(costs: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for front_end, schema in dict.fromkeys((row["front_end"], row["schema"]) for row in costs):
        rows = sorted(
            (row for row in costs if (row["front_end"], row["schema"]) == (front_end, schema)),
            key=lambda row: row["size"],
        )
        axes.plot(
            [row["size"] for row in rows],
            [1000 * row["ttft"]["median"] for row in rows],
            marker="o",
            label=f"{front_end}, {schema}",
        )
    axes.set_xscale("log")
    axes.set_xlabel("bytes of schema")
    axes.set_ylabel("TTFT, ms")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    _save(figure, folder / "schema-cost.svg")


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib is optional.
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
