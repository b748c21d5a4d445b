"""AsyncLLM without what it counts for metrics that nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.output_processor import RequestState


def without_metrics(llm: AsyncLLM) -> None:
    """Takes out the logger of metrics that vLLM adds to whichever it is given, and its counting.

    With any logger AsyncLLM counts every token and its latency, a tenth of what a token costs it.
    `ActivityRecorder` is one, and only wants what the engine core says of itself. What is left of
    the counting is when a request was queued and scheduled. Has to come before AsyncLLM is used in
    an event loop.
    """
    from vllm.v1.engine import EngineCoreEventType
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    manager = llm.logger_manager
    if manager is not None:
        manager.stat_loggers = [
            each for each in manager.stat_loggers if not isinstance(each, PrometheusStatLogger)
        ]

    def note_queue_times(
        state: RequestState, output: EngineCoreOutput, _timestamp: object, _counts: object
    ) -> None:
        if output.events is None or state.stats is None:
            return
        for event in output.events:
            if event.type is EngineCoreEventType.QUEUED:
                state.stats.queued_ts = event.timestamp
            elif event.type is EngineCoreEventType.SCHEDULED and not state.stats.scheduled_ts:
                # Later ones follow preemptions.
                state.stats.scheduled_ts = event.timestamp

    processor = llm.output_processor
    # vLLM's own traces are made of what is counted, and so may be what a plugin's logger writes.
    needed = processor.tracing_enabled or manager is None or len(manager.stat_loggers) > 1
    # A vLLM that has no such method counts as before, too.
    if not needed and hasattr(processor, "_update_stats_from_output"):
        processor._update_stats_from_output = note_queue_times  # noqa: SLF001
        llm.log_stats = False
