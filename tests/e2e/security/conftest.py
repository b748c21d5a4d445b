"""A real server with real vLLM on the tiny model, for hostile callers.

Its callers have tokens, and it logs at level debug, so that what must not be logged has every
chance to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.support.server_process import READY_SECONDS, ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import IRClient
from tests.support.credentials import CREDENTIALS, TOKEN
from tests.support.in_process_server import digest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    callers = folder / "callers.toml"
    callers.write_text(
        f'[callers.tester]\ntokens = ["{digest(TOKEN)}"]\n'
        'permissions = ["generate", "warmup", "debug"]\n'
    )
    process = ServerProcess(
        folder,
        (
            *("--model", str(make_tiny_model()), "--served-model-name", "tiny"),
            *("--log-level", "debug", "--auth-file", str(callers)),
            # Small, so that what waits for it ends within a test.
            *("--message-timeout", "5"),
        ),
    )
    try:
        with IRClient(process.target, metadata=dict(CREDENTIALS)) as client:
            client.wait_ready(READY_SECONDS)
        yield process
        assert process.process.poll() is None
    finally:
        process.close()
