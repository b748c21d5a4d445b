"""`genir serve` and `genir node` refuse the engine arguments of each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.place import check_place, has_workers_only


def configuration(**parallel: object) -> Any:
    usual: dict[str, object] = {
        "node_rank": 0,
        "node_rank_within_dp": 0,
        "data_parallel_size": 1,
        "data_parallel_rank": 0,
        "data_parallel_external_lb": False,
    }
    return SimpleNamespace(parallel_config=SimpleNamespace(**(usual | parallel)))


WORKERS = configuration(node_rank=1, node_rank_within_dp=1)
RANK = configuration(data_parallel_size=2, data_parallel_rank=1)


def test_peers_are_nodes_with_workers_or_with_later_ranks() -> None:
    for peer in (WORKERS, RANK):
        check_place(peer, headless=True)
    assert has_workers_only(WORKERS)
    assert not has_workers_only(RANK)


@pytest.mark.parametrize(
    "first",
    [configuration(), configuration(data_parallel_size=2), configuration(node_rank=0)],
)
def test_first_node_is_a_server(first: Any) -> None:
    check_place(first, headless=False)
    with pytest.raises(EngineStartError, match="node_rank of 1 or more"):
        check_place(first, headless=True)


def test_server_is_the_first_node() -> None:
    with pytest.raises(EngineStartError, match=r"node_rank is 1.*use genir node"):
        check_place(WORKERS, headless=False)


def test_rank_with_a_server_of_its_own_is_no_peer() -> None:
    alone = configuration(
        data_parallel_size=2, data_parallel_rank=1, data_parallel_external_lb=True
    )
    check_place(alone, headless=False)
    with pytest.raises(EngineStartError, match="use genir serve"):
        check_place(alone, headless=True)
