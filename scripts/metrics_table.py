"""Writes the table of metrics in docs/operations.md, made from the metrics themselves."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from genir_server.admission import Admission, AdmissionLimits
from genir_server.domain.errors import GenirError, Reason
from genir_server.engine.protocol import EngineActivity, RankActivity
from genir_server.observability.call_record import CallEnd, CallRecord
from genir_server.observability.metrics import Metrics
from genir_server.schema.cache import CacheCounters
from genir_server.schema.isolation.pool import PoolCounters
from genir_server.schema.preparer import PreparerCounters
from genir_server.supervision.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from genir_server.core.generate import IRGenerator
    from genir_server.core.self_test import SelfTest
    from genir_server.schema.preparer import Preparer

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
HEADER = "| metric | type | labels | meaning |"
_SUFFIXES = {"counter": "_total", "info": "_info"}


def metric_families() -> Iterable[Metric]:
    """Returns every family after an answered and a refused call, so that all have labels."""
    lifecycle = Lifecycle()
    rank = RankActivity(last_step_time=0.0)
    engine = SimpleNamespace(activity=lambda: EngineActivity((rank,)), effective_backend="guidance")
    lifecycle.attach(
        cast("IRGenerator", SimpleNamespace(engine=engine)), cast("SelfTest", SimpleNamespace())
    )
    metrics = Metrics(
        lifecycle,
        Admission(AdmissionLimits()),
        model="m",
        configured_backend="guidance",
        versions={"genir": "1"},
    )
    counters = PreparerCounters(CacheCounters(), PoolCounters())
    counters.refused[Reason.SCHEMA_INVALID] += 1
    metrics.preparer_started(cast("Preparer", SimpleNamespace(counters=counters)))
    metrics.certificates.expiry = lambda: {"tls_cert": 0.0}
    record = CallRecord("GenerateIR", "id", deadline=0.0)
    record.marks.first_token = record.began
    metrics.call_ended(
        record, CallEnd("OK", 1.0, facts={"completion_tokens": 2, "queue_seconds": 0.0})
    )
    refusal = GenirError(Reason.OVERLOADED, "")
    metrics.call_ended(record, CallEnd("RESOURCE_EXHAUSTED", 0.0, refusal))
    return metrics.registry.collect()


def exposed_name(family: Metric) -> str:
    """Returns the name of a family as Prometheus shows it."""
    return family.name + _SUFFIXES.get(family.type, "")


def metrics_table() -> str:
    """Returns the table in Markdown: name, type, labels, meaning."""
    rows = [HEADER, "|---|---|---|---|"]
    for family in metric_families():
        labels = {name: None for sample in family.samples for name in sample.labels if name != "le"}
        rows.append(
            f"| `{exposed_name(family)}` | {family.type} | {', '.join(labels)} "
            f"| {family.documentation} |"
        )
    return "\n".join(rows)


def write_metrics_table() -> None:
    """Replaces the table in docs/operations.md."""
    table = metrics_table()
    old = re.compile(re.escape(HEADER) + r"\n(?:\|.*\n)*")
    PAGE.write_text(old.sub(lambda _: table + "\n", PAGE.read_text(), count=1))


if __name__ == "__main__":
    write_metrics_table()
