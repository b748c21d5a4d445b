"""Caller identities. The server tells attackers and honest callers apart by their tokens."""

from __future__ import annotations

import secrets

HONEST_TOKEN = secrets.token_urlsafe(32)
ATTACKERS_TOKEN = secrets.token_urlsafe(32)
TOKENS = {"honest": HONEST_TOKEN, "attacker": ATTACKERS_TOKEN}
"""Token of each caller, by name."""
