"""Dashboard and alert rules use existing metrics, labels and outcomes."""

from __future__ import annotations

import re

import pytest

from genir_server.domain.errors import Reason
from scripts.metrics_table import exposed_name, metric_families
from tests.support.dashboards import (
    FOREIGN,
    alert_rules,
    dashboard,
    expressions,
    recording_rules,
)
from tests.support.promql import grouping_labels, matchers, metric_names

# Labels that Prometheus adds to every scraped series.
SCRAPED_LABELS = {"instance", "job", "namespace", "pod"}


def our_metrics() -> dict[str, set[str]]:
    """Name of a series -> its labels."""
    series: dict[str, set[str]] = {}
    for family in metric_families():
        labels = {name for sample in family.samples for name in sample.labels}
        names = [exposed_name(family)]
        if family.type == "histogram":
            names = [f"{family.name}_{suffix}" for suffix in ("bucket", "sum", "count")]
        series |= dict.fromkeys(names, labels)
    # Recording rules keep the labels that they group by.
    for rule in recording_rules():
        series[rule["record"]] = grouping_labels(rule["expr"])
    return series


def test_metric_names_are_found_in_expressions() -> None:
    expression = (
        'sum by (a) (rate(x_total{b="c_d"}[5m])) / on (e) vllm:y > 0.5 and time() - z > 1e3'
    )
    assert metric_names(expression) == {"x_total", "vllm:y", "z"}
    assert grouping_labels(expression) == {"a", "e"}
    assert [(found.metric, found.label) for found in matchers(expression)] == [("x_total", "b")]


@pytest.mark.parametrize("title", expressions())
def test_metrics_and_labels_exist(title: str) -> None:
    expression, ours = expressions()[title], our_metrics()
    names = metric_names(expression)
    assert names
    known = {name for name in names if name.startswith(FOREIGN)}
    assert names - known <= set(ours), f"unknown: {names - known - set(ours)}"
    labels = SCRAPED_LABELS.union(*(ours[name] for name in names - known))
    assert grouping_labels(expression) <= labels
    for matcher in matchers(expression):
        assert matcher.label in SCRAPED_LABELS | ours.get(matcher.metric, set()), matcher


@pytest.mark.parametrize("title", expressions())
def test_outcomes_and_reasons_exist(title: str) -> None:
    outcomes = {"valid", "cancelled", *(reason.value.lower() for reason in Reason)}
    for matcher in matchers(expressions()[title]):
        if matcher.label in ("outcome", "reason"):
            for word in matcher.value.split("|"):
                assert [name for name in outcomes if re.fullmatch(word, name)], word


def test_success_rate_covers_every_outcome() -> None:
    """Panel and alert agree on which outcomes are good, bad and left out."""
    outcomes = {"valid", "cancelled", *(reason.value.lower() for reason in Reason)}
    callers = next(
        matcher.value
        for matcher in matchers(expressions()["Success rate A"])
        if (matcher.label, matcher.operator) == ("outcome", "!~")
    )
    bad, counted = (
        set(matcher.value.split("|")) for matcher in matchers(recording_rules()[0]["expr"])
    )
    assert counted == bad | {"valid"}
    for rule in alert_rules():
        for matcher in matchers(rule["expr"]):
            assert matcher.label != "outcome" or set(matcher.value.split("|")) == bad
    assert outcomes - counted == {name for name in outcomes if re.fullmatch(callers, name)}


def test_alerts_have_severity_and_description() -> None:
    used = {name for rule in alert_rules() for name in metric_names(rule["expr"])}
    assert used >= {
        "genir_generations_total",
        "genir_generation_seconds_bucket",
        "genir_engine_requests_waiting",
        "genir_engine_restarts_total",
    }
    for rule in alert_rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        cells |= taken
