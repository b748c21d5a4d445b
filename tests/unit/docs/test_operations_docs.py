"""docs/operations.md lists the metrics and log fields that there are."""

from __future__ import annotations

from genir_server.observability.call_record import CallFacts
from scripts.metrics_table import metrics_table
from tests.support.operations_docs import ALWAYS, OPERATIONS, documented_log_fields


def test_the_table_of_metrics_is_the_metrics() -> None:
    assert metrics_table() in OPERATIONS, "run: python scripts/metrics_table.py"


def test_the_table_of_log_fields_is_what_a_call_may_log() -> None:
    fields = documented_log_fields()
    assert {name for name, where in fields.items() if where == "every line"} == ALWAYS
    assert set(fields) == ALWAYS | set(CallFacts.__annotations__)
