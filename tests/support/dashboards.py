"""The expressions in deploy/grafana and deploy/prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

# Prefixes of metrics from other sources on the same endpoint.
FOREIGN = ("vllm:", "process_", "up")
DEPLOY = Path(__file__).parents[2] / "deploy"


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana" / "genir.json").read_text())
    return loaded


def alert_rules() -> list[dict[str, Any]]:
    """The rules that alert."""
    return [rule for rule in _rules() if "alert" in rule]


def recording_rules() -> list[dict[str, Any]]:
    """The rules that record another metric."""
    return [rule for rule in _rules() if "record" in rule]


def _rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((DEPLOY / "prometheus" / "genir.rules.yaml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Title of a panel, variable, recorded metric or alert -> its expression."""
    board = dashboard()
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    for variable in board["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
        if asked:
            found[f"variable {variable['name']}"] = f"sum by ({asked[2]}) ({asked[1]})"
    return found | {rule.get("alert") or rule["record"]: rule["expr"] for rule in _rules()}
