"""Who calls: the server knows attackers and honest callers apart, by their tokens."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HONEST_TOKEN = secrets.token_urlsafe(32)
ATTACKERS_TOKEN = secrets.token_urlsafe(32)


def write_callers(folder: Path) -> Path:
    """A callers file of these two, new in a folder."""
    path = folder / "callers.toml"
    named = {"honest": HONEST_TOKEN, "attacker": ATTACKERS_TOKEN}
    path.write_text(
        "".join(
            f'[callers.{name}]\ntokens = ["sha256:{hashlib.sha256(token.encode()).hexdigest()}"]\n'
            'permissions = ["generate"]\n'
            for name, token in named.items()
        )
    )
    return path
