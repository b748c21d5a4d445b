"""Writes the table of settings in docs/settings.md, made from the settings themselves."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from genir_server.settings import ServerSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEADER = "| flag | default | meaning |"


def settings_table() -> str:
    """Returns the table in Markdown: flag, default, meaning."""
    rows = [HEADER, "|---|---|---|"]
    for name, field in ServerSettings.model_fields.items():
        default = field.default
        if default is PydanticUndefined:
            shown = "none"
        elif default is None:
            shown = "unset"
        elif isinstance(default, bool):
            shown = str(default).lower()
        else:
            shown = f"`{default}`"
        rows.append(f"| `--{name.replace('_', '-')}` | {shown} | {field.description} |")
    return "\n".join(rows)


def write_settings_table() -> None:
    """Replaces the table in docs/settings.md."""
    table = settings_table()
    old = re.compile(re.escape(HEADER) + r"\n(?:\|.*\n)*")
    PAGE.write_text(old.sub(lambda _: table + "\n", PAGE.read_text(), count=1))


if __name__ == "__main__":
    write_settings_table()
