"""Sums up the results of single schemas, and writes the sums as Markdown tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.schemas.corpus import JSON_SCHEMA_BENCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.schemas.rows import Row

NOTHING = "-"
"""Table cell where there is nothing to count."""

_THREE_DIGITS = 1000
_TIMES = ("prepare", "prepare_cpu", "compile", "max_mask", "verify", "normalize")


def grouped(rows: Sequence[Row], summed: Callable[[Sequence[Row]], Row]) -> Row:
    """Sums: ``totals`` for JSONSchemaBench and for all, ``datasets`` for each data set."""
    by_set: dict[str, list[Row]] = {}
    for row in rows:
        by_set.setdefault(str(row["dataset"]), []).append(row)
    bench = [row for row in rows if row["dataset"] in JSON_SCHEMA_BENCH]
    return {
        "totals": {"jsonschemabench": summed(bench), "all": summed(rows)},
        "datasets": {name: summed(of_set) for name, of_set in sorted(by_set.items())},
    }


def layer_sums(rows: Sequence[Row]) -> Row:
    """Sums over the rows of genir's own layer."""
    accepted = [row for row in rows if "reason" not in row]
    refused = [row for row in rows if "reason" in row]
    exact = [row for row in accepted if not row["checked"]]
    return {
        "schemas": len(rows),
        "accepted": len(accepted),
        "exact": len(exact),
        "relaxed": len(accepted) - len(exact),
        "refused": len(refused),
        "refused_by_reason": dict(Counter(map(_reason, refused)).most_common()),
        "checked_keywords": dict(
            Counter(
                keyword
                for row in accepted
                for keyword in {str(pair[0]) for pair in as_list(row["checked"])}
            ).most_common()
        ),
        **instance_sums(accepted),
        "overcounted": _length(accepted, "overcounted"),
        "examples": sum(bool(row["example"]) for row in accepted),
        "milliseconds": {
            "prepare": spread(_floats(rows, "wall_seconds")),
            "prepare_cpu": spread(_floats(accepted, "seconds")),
            "compile": spread(_floats(accepted, "compile_seconds")),
            "max_mask": spread(_floats(accepted, "max_mask_seconds")),
            "verify": spread(_each(accepted, "verify_seconds")),
            "normalize": spread(_each(accepted, "normalize_seconds")),
        },
        "worker_megabytes": _megabytes(accepted),
    }


def plain_sums(rows: Sequence[Row]) -> Row:
    """Sums over the rows of one vLLM backend alone."""
    accepted = [row for row in rows if row["outcome"] == "accepted"]
    outcomes = Counter(str(row["outcome"]) for row in rows)
    return {
        "schemas": len(rows),
        "accepted": len(accepted),
        **{outcome: outcomes[outcome] for outcome in ("refused", "timeout", "memory", "crash")},
        "while_writing": dict(
            Counter(str(row["while_writing"]) for row in accepted if "while_writing" in row)
        ),
        **instance_sums(accepted),
        "milliseconds": {"compile": spread(_floats(rows, "compile_seconds"))},
        "worker_megabytes": _megabytes(rows),
    }


def instance_sums(rows: Iterable[Row]) -> Row:
    """Numbers of instances by outcome."""
    rows = list(rows)
    return {
        "valid": sum(_int(row.get("valid")) for row in rows),
        "valid_lost": _length(rows, "valid_lost"),
        "invalid": sum(_int(row.get("invalid")) for row in rows),
        "invalid_passed": _length(rows, "invalid_passed"),
        "without_normal_form": _length(rows, "without_normal_form"),
        "untested": _length(rows, "untested"),
    }


def _reason(row: Row) -> str:
    limit = row.get("limit")
    return f"{row['reason']} {limit}" if limit else str(row["reason"])


def as_list(value: object) -> list[list[object]]:
    """A list in a row. Empty if the row has none."""
    return value if isinstance(value, list) else []


def _length(rows: Iterable[Row], name: str) -> int:
    return sum(len(as_list(row.get(name))) for row in rows)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _floats(rows: Iterable[Row], name: str) -> list[float]:
    return [float(str(row[name])) for row in rows if name in row]


def _each(rows: Iterable[Row], name: str) -> list[float]:
    return [float(str(value)) for row in rows for value in as_list(row.get(name))]


def _megabytes(rows: Iterable[Row]) -> dict[str, int]:
    """Maximum resident size of a worker: after the first schema, and at the end."""
    sizes = [_int(row["resident_bytes"]) >> 20 for row in rows if "resident_bytes" in row] or [0]
    return {"min": min(sizes), "max": max(sizes)}


def spread(seconds: Iterable[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum of some times, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * place))], 3)
        for name, place in places.items()
    }


def markdown(result: Row) -> str:
    """Every table of a result."""
    tables = [_layer_table(result), _times_table(result), _refusals_table(result)]
    plain = as_dict(result.get("plain_vllm"))
    if plain:
        tables.append(_plain_table(result, plain))
    return "\n\n".join(tables) + "\n"


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def as_dict(value: object) -> Row:
    """A mapping in a result. Empty if the result has none."""
    return value if isinstance(value, dict) else {}


def lines_of(result: Row) -> dict[str, Row]:
    """Sums of each data set, then the totals, by name."""
    return {
        name: as_dict(sums)
        for group in ("datasets", "totals")
        for name, sums in as_dict(result.get(group)).items()
    }


def share(part: object, whole: object) -> str:
    """A share in percent. A dash if there is nothing to count."""
    return f"{100 * _int(part) / _int(whole):.1f} %" if whole else NOTHING


def _lost_and_passed(sums: Row) -> tuple[str, str]:
    return (
        f"{sums['valid_lost']} of {sums['valid']}",
        f"{sums['invalid_passed']} of {sums['invalid']}",
    )


def _spread_text(times: object) -> str:
    return " / ".join(_three_digits(time) for time in _values(times))


def _three_digits(number: float) -> str:
    return f"{number:.3g}" if number < _THREE_DIGITS else f"{number:.0f}"


def _values(times: object) -> list[float]:
    return list(times.values()) if isinstance(times, dict) else []


def _layer_table(result: Row) -> str:
    head = ("", "schemas", "accepted", "exact", "relaxed", "refused")
    lines = []
    for name, sums in lines_of(result).items():
        count = sums["schemas"]
        lines.append(
            (
                name,
                count,
                share(sums["accepted"], count),
                share(sums["exact"], count),
                sums["relaxed"],
                sums["refused"],
                *_lost_and_passed(sums),
                _spread_text(as_dict(sums["milliseconds"])["prepare"]),
            )
        )
    measured = ("valid lost", "invalid passed", "prepare p50 / p99 / max, ms")
    return table((*head, *measured), lines)


def _times_table(result: Row) -> str:
    """Median, 99th percentile and maximum of each time, one column per total."""
    sums = {name: as_dict(of) for name, of in as_dict(result["totals"]).items()}
    lines = [
        (what, *(_spread_text(as_dict(of["milliseconds"])[what]) for of in sums.values()))
        for what in _TIMES
    ]
    sizes = [as_dict(of["worker_megabytes"]) for of in sums.values()]
    lines.append(("worker, MB", *(f"{of['min']} to {of['max']}" for of in sizes)))
    return table(("p50 / p99 / max, ms", *sums), lines)


def _refusals_table(result: Row) -> str:
    sums = {name: as_dict(of) for name, of in as_dict(result["totals"]).items()}
    counts = {name: as_dict(of["refused_by_reason"]) for name, of in sums.items()}
    reasons = {reason for of in counts.values() for reason in of}
    lines = [(reason, *(of.get(reason, 0) for of in counts.values())) for reason in sorted(reasons)]
    return table(("refused", *sums), lines)


def _plain_table(result: Row, plain: Row) -> str:
    """How each backend alone handles the schemas, next to genir."""
    systems = {"genir": result} | {f"vLLM, {backend}": as_dict(of) for backend, of in plain.items()}
    lines = []
    for system, of in systems.items():
        for name, sums in lines_of(of).items():
            if name not in as_dict(of["totals"]):
                continue
            ended = [
                f"{sums[what]} {what}" for what in ("timeout", "memory", "crash") if what in sums
            ]
            later = sum(map(_int, as_dict(sums.get("while_writing")).values()))
            lines.append(
                (
                    system,
                    name,
                    sums["schemas"],
                    share(sums["accepted"], sums["schemas"]),
                    ", ".join([*ended, *([f"{later} while writing"] if later else [])]) or "none",
                    *_lost_and_passed(sums),
                    _spread_text(as_dict(sums["milliseconds"])["compile"]),
                )
            )
    head = ("", "", "schemas", "accepted", "timed out or died", "valid lost", "invalid passed")
    per_set = _plain_sets_table(plain)
    return f"{table((*head, 'compile p50 / p99 / max, ms'), lines)}\n\n{per_set}"


def _plain_sets_table(plain: Row) -> str:
    backends = {backend: as_dict(as_dict(of).get("datasets")) for backend, of in plain.items()}
    names = sorted({name for of in backends.values() for name in of})
    head = [""]
    for backend in backends:
        head += [f"{backend}: accepted", "valid lost", "invalid passed"]
    lines = []
    for name in names:
        line: list[object] = [name]
        for of in backends.values():
            sums = as_dict(of.get(name))
            if sums:
                line += [f"{sums['accepted']} of {sums['schemas']}", *_lost_and_passed(sums)]
            else:
                line += [NOTHING] * 3
        lines.append(line)
    return table(head, lines)
