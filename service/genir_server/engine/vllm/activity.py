"""How busy the engine core says it is, kept from the statistics that it sends with each step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats


class ActivityRecorder:
    """The newest of the engine core's own counts.

    It has the shape of vLLM's `StatLoggerBase`; `factory` is what ``AsyncLLM(stat_loggers=…)``
    takes. The engine core sends statistics with every step, and makes one more step after a request
    is aborted, so that the counts return to 0 when it has nothing left to do.
    """

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.last_step_time: float | None = None

    def factory(self, vllm_config: VllmConfig, engine_index: int = 0) -> ActivityRecorder:  # noqa: ARG002
        """This recorder, whichever engine vLLM asks for: there is one."""
        return self

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,  # noqa: ARG002  # The shape is vLLM's.
        mm_cache_stats: MultiModalCacheStats | None = None,  # noqa: ARG002
        engine_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Takes in what the engine core sent with a step."""
        if scheduler_stats is None:
            return
        self.running = scheduler_stats.num_running_reqs
        self.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
        self.last_step_time = time.time()

    def log_engine_initialized(self) -> None:
        """Says nothing: the server's log does."""

    def log(self) -> None:
        """Says nothing: the counts are asked for."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """Nothing: the server never puts the engine to sleep."""
