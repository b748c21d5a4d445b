"""A layout that needs more devices than the machine shows is refused before the load."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from genir_server.engine.vllm.devices import (
    BINDING,
    Layout,
    layout_here,
    too_few_devices,
    too_few_processors,
)


def arguments(**given: object) -> Any:
    usual: dict[str, object] = {
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "prefill_context_parallel_size": 1,
        "data_parallel_size": 1,
        "data_parallel_size_local": None,
        "data_parallel_rank": None,
        "data_parallel_external_lb": False,
        "data_parallel_backend": "mp",
        "distributed_executor_backend": None,
        "nnodes": 1,
    }
    return SimpleNamespace(**(usual | given))


def here(**given: object) -> Layout:
    layout = layout_here(arguments(**given))
    assert layout is not None
    return layout


@pytest.mark.parametrize(
    ("given", "ranks", "workers"),
    [
        ({}, 1, 1),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, 1, 8),
        ({"tensor_parallel_size": 2, "prefill_context_parallel_size": 2}, 1, 4),
        ({"data_parallel_size": 8}, 8, 1),
        ({"data_parallel_size": 2, "tensor_parallel_size": 4}, 2, 4),
        # Ranks elsewhere need nothing here.
        ({"data_parallel_size": 8, "data_parallel_size_local": 2}, 2, 1),
        ({"data_parallel_size": 8, "data_parallel_size_local": 0}, 0, 1),
        ({"data_parallel_size": 8, "data_parallel_rank": 3}, 1, 1),
        ({"data_parallel_size": 8, "data_parallel_external_lb": True}, 1, 1),
        ({"data_parallel_size": 16, "nnodes": 2, "data_parallel_rank": 3}, 1, 1),
        (
            {
                "data_parallel_size": 4,
                "tensor_parallel_size": 2,
                "nnodes": 2,
                "data_parallel_rank": 1,
            },
            1,
            2,
        ),
        # Over machines.
        ({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nnodes": 2}, 1, 8),
        ({"tensor_parallel_size": 8, "data_parallel_size": 4, "nnodes": 2}, 2, 8),
        ({"tensor_parallel_size": 8, "data_parallel_size": 2, "nnodes": 4}, 1, 4),
    ],
)
def test_layout_counts_what_is_on_this_machine(
    given: dict[str, object], ranks: int, workers: int
) -> None:
    layout = here(**given)
    assert (layout.ranks, layout.workers) == (ranks, workers)
    assert layout.devices == ranks * workers


@pytest.mark.parametrize(
    "given",
    [
        {"distributed_executor_backend": "ray"},
        {"distributed_executor_backend": "external_launcher"},
        {"distributed_executor_backend": object},
        {"data_parallel_backend": "ray"},
        # vLLM itself refuses these, in its own words.
        {"tensor_parallel_size": "four"},
        {"tensor_parallel_size": 0},
        {"data_parallel_size": -1},
        {"data_parallel_size_local": "two"},
    ],
)
def test_layouts_of_others_are_not_judged(given: dict[str, object]) -> None:
    assert layout_here(arguments(**{"tensor_parallel_size": 64} | given)) is None


def test_ray_places_the_processes_of_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "ray", running)
    assert layout_here(arguments(tensor_parallel_size=64)) is None
    running.is_initialized = lambda: False
    assert layout_here(arguments(tensor_parallel_size=64)) is not None


def test_layout_on_too_few_devices_is_refused_in_one_line() -> None:
    layout = here(tensor_parallel_size=4, data_parallel_size=2)
    assert too_few_devices(layout, 8) == ""
    fault = too_few_devices(layout, 7, "CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6")
    assert fault.startswith(
        "tensor_parallel_size=4, data_parallel_size=2 needs 8 devices on this machine, and vLLM"
        " sees 7 (CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6): "
    )
    assert "\n" not in fault


def test_one_device_is_needed_at_least() -> None:
    fault = too_few_devices(here(), 0, "CUDA_VISIBLE_DEVICES=")
    assert "needs 1 device on this machine, and vLLM sees 0 (CUDA_VISIBLE_DEVICES=)" in fault
    assert too_few_devices(here(), 1) == ""
    # A server without ranks of its own.
    assert too_few_devices(here(data_parallel_size=2, data_parallel_size_local=0), 0) == ""


@pytest.mark.parametrize(
    ("given", "binding", "nodes", "said"),
    [
        ({}, None, 1, ""),
        ({"tensor_parallel_size": 2}, None, 1, "a memory node of its own, of which there is 1:"),
        ({"tensor_parallel_size": 2}, "auto", 1, "2 processes on this machine"),
        ({"pipeline_parallel_size": 4}, None, 2, "of which there are 2:"),
        ({"tensor_parallel_size": 2}, None, 2, ""),
        ({"tensor_parallel_size": 2}, "nobind", 1, ""),
        ({"tensor_parallel_size": 2}, "0|1", 1, ""),
        ({"tensor_parallel_size": 2}, "0-1", 4, "=0-1 has processors for 1:"),
        ({"tensor_parallel_size": 2}, "0|1|2", 4, "has processors for 3:"),
        ({}, "0|1", 4, "has 1 process on this machine, and"),
        ({"data_parallel_size": 2}, None, 1, ""),
        ({"data_parallel_size": 2}, "0|1", 1, ""),
        ({"data_parallel_size": 2}, "0|1|2", 1, ""),
        ({"data_parallel_size": 2}, "0-1", 1, "has processors for 1:"),
        ({"data_parallel_size": 2, "tensor_parallel_size": 2}, None, 1, "4 processes"),
    ],
)
def test_processors_are_shared_out_to_the_processes_on_a_cpu(
    given: dict[str, object], binding: str | None, nodes: int, said: str
) -> None:
    environment = {} if binding is None else {BINDING: binding}
    fault = too_few_processors(here(**given), environment, nodes)
    assert said in fault if said else fault == ""
    if fault:
        assert f"list the processors of each in {BINDING}" in fault


def test_simulated_memory_nodes_are_left_to_vllm() -> None:
    environment = {"VLLM_CPU_SIM_MULTI_NUMA": "1"}
    assert too_few_processors(here(tensor_parallel_size=2), environment, 1) == ""
