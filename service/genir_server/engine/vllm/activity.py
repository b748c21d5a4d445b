"""Keeps the engine cores' counts of requests, which they send with every step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats


class RankRecorder:
    """The latest counts of one data-parallel rank, which is one engine core.

    Has the interface of vLLM's `StatLoggerBase`. An engine core sends its counts with every step,
    and makes one more step after a request is aborted, so they return to 0 when it has nothing left
    to do.
    """

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.last_step_time: float | None = None
        self.kv_cache_usage = 0.0

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,  # noqa: ARG002  # The shape is vLLM's.
        mm_cache_stats: MultiModalCacheStats | None = None,  # noqa: ARG002
        engine_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Stores the counts that came with a step."""
        if scheduler_stats is None:
            return
        self.running = scheduler_stats.num_running_reqs
        self.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
        self.last_step_time = time.time()
        self.kv_cache_usage = scheduler_stats.kv_cache_usage

    def log_engine_initialized(self) -> None:
        """Logs nothing: the server does."""

    def log(self) -> None:
        """Logs nothing: the counts are read from the attributes."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """Does nothing: the server never puts the engine to sleep."""


class ActivityRecorder:
    """The recorders of all ranks. `factory` goes into ``AsyncLLM(stat_loggers=…)``."""

    def __init__(self) -> None:
        self.ranks: dict[int, RankRecorder] = {}

    # The shape is vLLM's.
    def factory(self, vllm_config: VllmConfig, engine_index: int = 0) -> RankRecorder:  # noqa: ARG002
        """The recorder of a rank, which vLLM asks for once for each."""
        return self.ranks.setdefault(engine_index, RankRecorder())
