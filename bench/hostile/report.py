"""Turns measurements into figures, broken promises and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.hostile.cases import DECODED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.hostile.attack import Hit
    from bench.hostile.processes import Processes
    from bench.hostile.traffic import Experience

MAX_SECONDS = 2.0
MAX_RATIO = 3.0
MAX_PROBE_SECONDS = 0.1
STALL_SECONDS = 2.0
MAX_GROWTH = 256.0
_COLUMNS = (
    "phase",
    "attacks",
    "decided p50 / max, s",
    "gap p50 / p99 / max, ms",
    "first text p50 / p99 / max, ms",
    "fresh schema p50 / p99 / max, ms",
    "check p50 / p99 / max, ms",
    "guarded call p50 / p99 / max, ms",
    "probe p50 / p99 / max, ms",
)


_MEASURES = ("gap", "first_text", "fresh_schema", "check", "guarded", "probe")


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a run: its name, what honest callers experienced, and the attack outcomes."""

    name: str
    experience: Experience
    hits: Sequence[Hit] = ()


def quantile(values: Sequence[float], share: float) -> float:
    """Quantile of some values, in their own unit. 0.0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def figures(phase: Phase) -> dict[str, float | int]:
    """One phase in numbers; times in milliseconds."""
    seen = phase.experience
    result: dict[str, float | int] = {
        "attacks": len(phase.hits),
        "streams": seen.finished,
        "failures": len(seen.failures),
    }
    for name, values in (
        ("gap", seen.gaps),
        ("first_text", seen.first_texts),
        ("fresh_schema", seen.fresh),
        ("check", seen.checks),
        ("guarded", seen.guarded),
        ("probe", seen.probes),
    ):
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            result[f"{name}_{label}_ms"] = round(1e3 * quantile(values, share), 1)
    return result


def broken_promises(
    phases: Sequence[Phase], before: Processes, after: Processes, *, alive: bool
) -> list[str]:
    """Every hard promise that was broken. Empty when all were kept."""
    broken = []
    for phase in phases:
        broken += [
            f"{phase.name}: {hit.name}: {hit.reason}:{hit.limit} is not documented for it"
            for hit in phase.hits
            if not hit.documented
        ]
        broken += [f"{phase.name}: honest caller: {why}" for why in set(phase.experience.failures)]
        longest = quantile(phase.experience.gaps, 1.0)
        if longest > STALL_SECONDS:
            broken.append(f"{phase.name}: a stream stood still for {longest:.2f} s")
        probe = quantile(phase.experience.probes, 0.99)
        if probe > MAX_PROBE_SECONDS:
            broken.append(f"{phase.name}: the p99 of the probes was {1e3 * probe:.0f} ms")
    if not alive:
        broken.append("the server is gone")
    if after.engine != before.engine:
        broken.append(f"the engine's processes changed from {before.engine} to {after.engine}")
    # Workers for slow jobs start when they are first needed.
    if lost := set(before.workers) - set(after.workers):
        broken.append(f"the workers {sorted(lost)} are gone")
    broken += [
        f"the {role} grew from {before.memory[role]} to {after.memory[role]} MiB"
        for role in ("server", "engine", "workers")
        if after.memory[role] > before.memory[role] + MAX_GROWTH
    ]
    return broken


def missed_aims(phases: Sequence[Phase]) -> list[str]:
    """Targets beyond the hard promises that were missed: nothing takes three times as long."""
    usual = figures(phases[0])
    missed = []
    for phase in phases[1:]:
        if phase.name == "one by one":
            missed += [
                f"{hit.name}: decided after {hit.decided:.2f} s"
                for hit in phase.hits
                if hit.decided > MAX_SECONDS
            ]
        now = figures(phase)
        for measure in _MEASURES[:-1]:
            before, after = usual[f"{measure}_p50_ms"], now[f"{measure}_p50_ms"]
            if after > MAX_RATIO * before:
                missed.append(
                    f"{phase.name}: the p50 of {measure} is {after / before:.1f} times the usual "
                    f"({after:.0f} and {before:.0f} ms)"
                )
        longest, gap = now["gap_max_ms"], usual["gap_p99_ms"]
        if longest > MAX_RATIO * gap:
            missed.append(
                f"{phase.name}: the longest gap between tokens is {longest / gap:.1f} times the "
                f"usual p99 ({longest:.0f} and {gap:.0f} ms)"
            )
        if now["probe_max_ms"] > 1e3 * MAX_PROBE_SECONDS:
            missed.append(f"{phase.name}: the slowest probe took {now['probe_max_ms']:.0f} ms")
    return missed


def markdown(phases: Sequence[Phase], before: Processes, after: Processes) -> str:
    """The tables for the documentation."""
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
    ]
    for phase in phases:
        numbers = figures(phase)
        decided = [hit.decided for hit in phase.hits]
        times = f"{quantile(decided, 0.5):.2f} / {quantile(decided, 1.0):.2f}" if decided else ""
        columns = [phase.name, str(len(phase.hits)), times]
        columns += [
            " / ".join(f"{numbers[f'{name}_{label}_ms']:.0f}" for label in ("p50", "p99", "max"))
            for name in _MEASURES
        ]
        lines.append(f"| {' | '.join(columns)} |")
    lines += ["", "| memory, MiB | before | after |", "|---|---|---|"]
    lines += [
        f"| {role} | {before.memory[role]:.0f} | {after.memory[role]:.0f} |"
        for role in ("server", "engine", "workers")
    ]
    outcomes: dict[str, int] = {}
    for hit in (hit for phase in phases for hit in phase.hits if phase.name == "one by one"):
        name = f"`{hit.limit}`" if hit.limit else hit.reason
        if hit.reason in DECODED:
            name = "accepted"
        outcomes[name] = outcomes.get(name, 0) + 1
    ranked = sorted(outcomes.items(), key=lambda item: -item[1])
    lines += ["", "One by one: " + ", ".join(f"{name} {count}" for name, count in ranked) + "."]
    return "\n".join(lines)
