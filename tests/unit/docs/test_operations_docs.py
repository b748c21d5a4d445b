"""docs/operations.md lists the metrics and log fields that there are."""

from __future__ import annotations

import re
from pathlib import Path

from genir_server.observability.call_record import CallFacts
from scripts.metrics_table import metrics_table

OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
ALWAYS = {"event", "level", "logger", "timestamp", "method", "request_id", "code", "seconds"}


def documented_log_fields() -> dict[str, str]:
    """Field of a call's line -> on which lines it is."""
    section = OPERATIONS.split("## Log\n")[1].split("\n## ")[0]
    return {
        name: where
        for names, where in re.findall(
            r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", section, re.MULTILINE
        )
        for name in re.findall(r"\w+", names)
    }


def test_the_table_of_metrics_is_the_metrics() -> None:
    assert metrics_table() in OPERATIONS, "run: python scripts/metrics_table.py"


def test_the_table_of_log_fields_is_what_a_call_may_log() -> None:
    fields = documented_log_fields()
    assert {name for name, where in fields.items() if where == "every line"} == ALWAYS
    assert set(fields) == ALWAYS | set(CallFacts.__annotations__)
