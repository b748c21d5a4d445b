"""The report tables."""

from __future__ import annotations

from typing import Any

from bench.performance.report import added_table, front_end_table


def row(front_end: str, way: str, cpu: float) -> dict[str, Any]:
    def spread(value: float) -> dict[str, float]:
        return {"median": value, "low": value / 2, "high": value * 2}

    return {
        "front_end": front_end,
        "way": way,
        "concurrency": 8,
        "ttft": spread(0.05),
        "tpot": spread(0.02),
        "ir_seconds": spread(2.0),
        "tokens_per_second": spread(250.0),
        "irs_per_second": spread(2.5),
        "cpu_per_1000_calls": spread(100 * cpu),
        "cpu_per_1000_tokens": spread(cpu),
        "tokens_per_message": 1.0,
        "valid_share": 1.0,
    }


MEASURED = [
    row("in process", "stream", 0.1),
    row("in process", "whole", 0.06),
    row("in process", "stream of token ids", 0.08),
    row("genir", "stream", 0.15),
    row("genir", "unary", 0.07),
    row("vLLM gRPC", "stream of token ids", 0.2),
]


def test_added_cpu_time_is_relative_to_the_same_mode_in_process() -> None:
    lines = added_table(MEASURED).splitlines()
    added = {tuple(line.split(" | ")[1:3]): line.split(" | ")[4] for line in lines[2:]}
    assert added["genir", "stream"] == "+0.050"
    assert added["genir", "unary"] == "+0.010"
    assert added["vLLM gRPC", "stream of token ids"] == "+0.120"
    assert added["in process", "whole"] == "+0.000"


def test_median_is_shown_with_its_range_and_unary_answer_has_no_pace() -> None:
    lines = front_end_table(MEASURED).splitlines()
    assert "| 50 (25 to 100) | 20.0 (10.0 to 40.0) |" in lines[2]
    assert "| unary | 50 (25 to 100) |  |" in next(line for line in lines if "unary" in line)
