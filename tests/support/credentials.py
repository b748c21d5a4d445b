"""The token that the shared end-to-end server accepts."""

from __future__ import annotations

from tests.support.in_process_server import bearer

TOKEN = "a-token-that-must-not-be-logged"  # noqa: S105 - known to the tests' own server.
CREDENTIALS = bearer(TOKEN)
