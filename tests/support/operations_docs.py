"""The metrics and log fields that docs/operations.md lists."""

from __future__ import annotations

import re
from pathlib import Path

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
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
