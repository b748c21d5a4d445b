"""A load reports its progress in the log and in Health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir import IRClient
from tests.support.sharded_model import SHARDS

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess


def test_shards_of_a_model_are_counted(hub_server: ServerProcess) -> None:
    last = hub_server.log_lines("loading")[-1]
    assert (last["stage"], last["done"], last["total"]) == ("weights", SHARDS, SHARDS)
    assert last["unit"] == "shards"
    assert "Completed |" not in hub_server.log, "no bar is printed"
    with IRClient(hub_server.target) as client:
        assert client.health().load_progress is None
