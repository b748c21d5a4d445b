"""Who calls: the server knows attackers and honest callers apart, by their tokens."""

from __future__ import annotations

import secrets

HONEST_TOKEN = secrets.token_urlsafe(32)
ATTACKERS_TOKEN = secrets.token_urlsafe(32)
TOKENS = {"honest": HONEST_TOKEN, "attacker": ATTACKERS_TOKEN}
"""The tokens by the names of the callers."""
