"""The alerts fire when they should, and each has a section in docs/runbooks.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.dashboards import DEPLOY, alert_rules, recording_rules
from tests.support.promql import matchers, metric_names

if TYPE_CHECKING:
    from pathlib import Path

PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "genir.rules.yaml"
TEST_FILES = sorted(PROMETHEUS.glob("*.test.yaml"))
RUNBOOKS = (DEPLOY.parent / "docs" / "runbooks.md").read_text()
ALERTS = [rule["alert"] for rule in alert_rules()]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on PATH (Debian: prometheus)"
)


def cases() -> list[dict[str, Any]]:
    """Every expectation of an alert in the files for promtool."""
    return [
        case
        for path in TEST_FILES
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_a_case_in_which_it_fires(alert: str) -> None:
    assert any(case["exp_alerts"] for case in cases() if case["alertname"] == alert)


def test_cases_are_of_alerts_that_exist() -> None:
    assert {case["alertname"] for case in cases()} == set(ALERTS)


@needs_promtool
def test_alerts_fire_as_their_cases_say() -> None:
    done = promtool("test", "rules", *TEST_FILES)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('up{job="genir"} == 0', 'genir_phase{phase="failed"} == 1'),
        ('changes(process_start_time_seconds{job="genir"}[2h]) >= 3', "vector(0) > 1"),
        ("ratio_rate1h > 14.4 * 0.01", "ratio_rate1h > 0.5"),
        ("< 14 * 86400", "< 16 * 86400"),
    ],
)
def test_cases_notice_a_wrong_rule(tmp_path: Path, right: str, wrong: str) -> None:
    text = RULES.read_text()
    assert right in text
    for path in TEST_FILES:
        shutil.copy(path, tmp_path)
    (tmp_path / RULES.name).write_text(text.replace(right, wrong))
    done = promtool("test", "rules", *sorted(tmp_path.glob("*.test.yaml")))
    assert "FAILED" in done.stdout + done.stderr


def test_alerts_do_not_depend_on_a_phase_that_no_scrape_sees() -> None:
    """A server that has failed exits within seconds."""
    for rule in alert_rules():
        for matcher in matchers(rule["expr"]):
            assert (matcher.label, matcher.value) != ("phase", "failed"), rule["alert"]


@pytest.mark.parametrize("rule", alert_rules(), ids=ALERTS)
def test_alert_links_to_its_runbook(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (page, anchor) == ("docs/runbooks.md", rule["alert"].lower())


def test_runbooks_have_one_section_for_each_alert() -> None:
    sections = re.split(r"^## ", RUNBOOKS, flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    assert titles == ALERTS
    for section in sections:
        assert {"**Meaning.**", "**Check.**", "**Do.**"} <= set(
            re.findall(r"\*\*\w+\.\*\*", section)
        )


def test_recorded_ratios_differ_only_in_their_windows() -> None:
    forms = set()
    windows = set()
    for rule in recording_rules():
        window = rule["record"].rpartition("_rate")[2]
        assert re.findall(r"\[(\w+)\]", rule["expr"]) == [window] * 2
        windows.add(window)
        forms.add(rule["expr"].replace(f"[{window}]", ""))
    assert len(forms) == 1
    used = {name for rule in alert_rules() for name in metric_names(rule["expr"])}
    recorded = {rule["record"] for rule in recording_rules()}
    assert {name for name in used if name.startswith("genir:")} == recorded
    assert windows == {"5m", "30m", "1h", "2h", "6h", "1d", "3d"}
