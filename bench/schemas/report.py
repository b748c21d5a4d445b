"""Sums up the results of single schemas."""

from __future__ import annotations

from collections import Counter

JSON_SCHEMA_BENCH = frozenset(
    {
        "Glaiveai2K",
        "Github_trivial",
        "Github_easy",
        "Github_medium",
        "Github_hard",
        "Github_ultra",
        "Kubernetes",
        "Snowplow",
        "WashingtonPost",
        "JsonSchemaStore",
    }
)
Row = dict[str, object]


def totals(rows: list[Row]) -> dict[str, object]:
    """Sums for each data set, for JSONSchemaBench and for all."""
    by_set: dict[str, list[Row]] = {}
    for row in rows:
        by_set.setdefault(str(row["dataset"]), []).append(row)
    bench = [row for row in rows if row["dataset"] in JSON_SCHEMA_BENCH]
    return {
        "totals": {"jsonschemabench": _sum(bench), "all": _sum(rows)},
        "datasets": {name: _sum(of_set) for name, of_set in sorted(by_set.items())},
    }


def _sum(rows: list[Row]) -> dict[str, object]:
    accepted = [row for row in rows if "reason" not in row]
    exact = [row for row in accepted if not row["checked"]]
    return {
        "schemas": len(rows),
        "accepted": len(accepted),
        "exact": len(exact),
        "relaxed": len(accepted) - len(exact),
        "refused": len(rows) - len(accepted),
        "refused_by_reason": dict(Counter(str(row["reason"]) for row in rows if "reason" in row)),
        "checked_keywords": dict(
            Counter(
                keyword
                for row in accepted
                for keyword in {str(pair[0]) for pair in _list(row["checked"])}
            ).most_common()
        ),
        "valid": sum(_int(row["valid"]) for row in accepted),
        "valid_lost": sum(len(_list(row["valid_lost"])) for row in accepted),
        "invalid": sum(_int(row["invalid"]) for row in accepted),
        "invalid_passed": sum(len(_list(row["invalid_passed"])) for row in accepted),
        "overcounted": sum(len(_list(row["overcounted"])) for row in accepted),
        "examples": sum(bool(row["example"]) for row in accepted),
        "milliseconds": {
            "prepare": _spread([_float(row["wall_seconds"]) for row in rows]),
            "prepare_cpu": _spread([_float(row["seconds"]) for row in accepted]),
            "compile": _spread([_float(row["compile_seconds"]) for row in accepted]),
            "worst_mask": _spread([_float(row["worst_mask_seconds"]) for row in accepted]),
            "verify": _spread(
                [_float(value) for row in accepted for value in _list(row["verify_seconds"])]
            ),
        },
        "worker_resident_megabytes": max(
            (_int(row["resident_bytes"]) >> 20 for row in accepted), default=0
        ),
    }


def _list(value: object) -> list[list[object]]:
    return value if isinstance(value, list) else []


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * place))], 3)
        for name, place in places.items()
    }


def markdown(result: dict[str, object]) -> str:
    """The sums and the times as two tables."""
    return f"{_sums_table(result)}\n\n{_times_table(result)}"


def _sums_table(result: dict[str, object]) -> str:
    head = (
        "| | schemas | accepted | exact | relaxed | refused | valid lost | invalid passed |"
        " prepare p50 / p99 / max, ms |\n|---|---|---|---|---|---|---|---|---|"
    )
    lines = [head]
    for group in ("datasets", "totals"):
        sums = result[group]
        if isinstance(sums, dict):
            lines.extend(_line(name, row) for name, row in sums.items())
    return "\n".join(lines)


def _line(name: str, row: Row) -> str:
    count = _int(row["schemas"]) or 1
    times = row["milliseconds"]
    spread = times["prepare"] if isinstance(times, dict) else {}
    return (
        f"| {name} | {row['schemas']} | {100 * _int(row['accepted']) / count:.1f} % |"
        f" {100 * _int(row['exact']) / count:.1f} % | {row['relaxed']} | {row['refused']} |"
        f" {row['valid_lost']} of {row['valid']} | {row['invalid_passed']} of {row['invalid']} |"
        f" {spread['p50']:.1f} / {spread['p99']:.0f} / {spread['max']:.0f} |"
    )


def _times_table(result: dict[str, object]) -> str:
    """The median, the 99th percentile and the worst of each time, one column a total."""
    sums = result["totals"]
    totals_by_name = sums if isinstance(sums, dict) else {}
    times = {name: row["milliseconds"] for name, row in totals_by_name.items()}
    lines = [f"| p50 / p99 / max, ms | {' | '.join(times)} |", "|---" * (1 + len(times)) + "|"]
    for what in ("prepare", "prepare_cpu", "compile", "worst_mask", "verify"):
        cells = (" / ".join(f"{time:.4g}" for time in of[what].values()) for of in times.values())
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)
