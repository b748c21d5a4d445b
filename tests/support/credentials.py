"""The tokens that the private end-to-end server accepts."""

from __future__ import annotations

from tests.support.in_process_server import bearer, digest

TOKEN = "a-token-that-must-not-be-logged"  # noqa: S105 - known to the tests' own server.
CREDENTIALS = bearer(TOKEN)

TOKENS = {"tester": TOKEN} | {
    name: f"the-token-of-{name}" for name in ("flooding", "other", "urgent")
}
"""Token of each caller, by name."""

PRIVATE_RUNNING = 4
"""How many calls the server runs at a time."""

_MORE = {"tester": ("warmup", "debug"), "urgent": ("priority",)}


def callers_file() -> str:
    """The server's callers file. All may generate, and `tester` and `urgent` more."""
    return "".join(
        f'[callers.{name}]\ntokens = ["{digest(token)}"]\n'
        f"permissions = {['generate', *_MORE.get(name, ('debug',))]}\n"
        for name, token in TOKENS.items()
    )
