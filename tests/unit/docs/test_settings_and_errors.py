"""docs/settings.md and docs/errors.md list every setting and every error reason."""

from __future__ import annotations

import re
from pathlib import Path

from genir_server.domain.errors import Reason
from genir_server.transport.status import CODES
from scripts.settings_table import settings_table

DOCS = Path(__file__).parents[3] / "docs"


def test_settings_page_has_the_current_table() -> None:
    table = (DOCS / "settings.md").read_text()
    assert settings_table() in table, "run: python scripts/settings_table.py"


def test_errors_page_lists_every_reason_under_its_status_code() -> None:
    page = (DOCS / "errors.md").read_text()
    rows = re.findall(r"^\| ([A-Z_]+) \| (`[A-Z_`, ]+`) \|", page, re.MULTILINE)
    documented = {
        Reason(reason): code for code, reasons in rows for reason in re.findall("[A-Z_]+", reasons)
    }
    assert documented == {reason: code.name for reason, code in CODES.items()}
