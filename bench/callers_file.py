"""A callers file for a server under measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_callers(folder: Path, tokens: Mapping[str, str]) -> Path:
    """Writes a callers file with a token for each name. Every caller may generate and warm up."""
    path = folder / "callers.toml"
    permissions = 'permissions = ["generate", "warmup"]'
    path.write_text(
        "".join(
            f'[callers.{name}]\ntokens = ["{digest(token)}"]\n{permissions}\n'
            for name, token in tokens.items()
        )
    )
    return path
