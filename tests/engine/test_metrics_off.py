"""When AsyncLLM may leave off counting, on stand-ins; the real one is in test_vllm_engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from genir_server.engine.patches.metrics_off import without_metrics

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


def asyncllm(*, loggers: int = 1, tracing: bool = False) -> Any:
    def counting(*_: object) -> None:
        """What vLLM does with each token."""

    return SimpleNamespace(
        log_stats=True,
        logger_manager=SimpleNamespace(stat_loggers=[object()] * loggers),
        output_processor=SimpleNamespace(
            tracing_enabled=tracing, _update_stats_from_output=counting
        ),
    )


def test_what_nobody_reads_is_not_counted() -> None:
    llm = asyncllm()
    counting = llm.output_processor._update_stats_from_output
    without_metrics(llm)
    assert not llm.log_stats
    assert llm.output_processor._update_stats_from_output is not counting


@pytest.mark.parametrize("llm", [asyncllm(tracing=True), asyncllm(loggers=2)])
def test_traces_of_vllm_and_loggers_of_plugins_get_what_is_counted(llm: Any) -> None:
    counting = llm.output_processor._update_stats_from_output
    without_metrics(llm)
    assert llm.log_stats
    assert llm.output_processor._update_stats_from_output is counting


def test_a_vllm_without_the_method_is_left_alone() -> None:
    llm = asyncllm()
    del llm.output_processor._update_stats_from_output
    without_metrics(llm)
    assert llm.log_stats
