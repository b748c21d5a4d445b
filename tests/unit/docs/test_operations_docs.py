"""docs/operations.md lists the metrics and log fields that there are."""

from __future__ import annotations

from genir_server.observability.call_record import CallFacts
from scripts.metrics_table import metrics_table
from tests.support.operations_docs import ALWAYS, OPERATIONS, documented_log_fields


def test_operations_page_has_the_current_metrics_table() -> None:
    assert metrics_table() in OPERATIONS, "run: python scripts/metrics_table.py"


def test_operations_page_lists_every_log_field() -> None:
    fields = documented_log_fields()
    assert {name for name, where in fields.items() if where == "every line"} == ALWAYS
    assert set(fields) == ALWAYS | set(CallFacts.__annotations__)
