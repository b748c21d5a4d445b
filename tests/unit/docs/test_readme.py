"""The README's tables say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from genir_server.domain.errors import Reason
from genir_server.transport.status import CODES
from scripts.settings_table import settings_table

README = (Path(__file__).parents[3] / "README.md").read_text()


def test_the_table_of_settings_is_the_settings() -> None:
    assert settings_table() in README, "run: python scripts/settings_table.py"


def test_the_table_of_errors_has_every_reason_under_its_code() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (`[A-Z_`, ]+`) \|", README, re.MULTILINE)
    told = {
        Reason(reason): code for code, reasons in rows for reason in re.findall("[A-Z_]+", reasons)
    }
    assert told == {reason: code.name for reason, code in CODES.items()}
