"""Values that the server verified are accepted by the Python type that was the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.support.tiny_server import TinyServer
from tests.support.type_outcomes import outcomes, refusals

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 10


def test_types_accept_every_value(tmp_path: Path) -> None:
    server = TinyServer(tmp_path)
    try:
        server.wait_ready()
        found = outcomes(server.target, CALLS)
    finally:
        server.close()
    assert {name: refusals(counts) for name, counts in found.items() if refusals(counts)} == {}
    # The noise of the tiny model may be cut off, but a schema that no value fits would always fail.
    assert {name: counts for name, counts in found.items() if counts["OK"] < CALLS / 2} == {}
