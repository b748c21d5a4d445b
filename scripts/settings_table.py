"""Prints the README's table of settings, made from the settings themselves."""

from __future__ import annotations

from pydantic_core import PydanticUndefined

from genir_server.settings import ServerSettings


def settings_table() -> str:
    """The table in Markdown: flag, default, meaning."""
    rows = ["| flag | default | meaning |", "|---|---|---|"]
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


if __name__ == "__main__":
    print(settings_table())
