"""The Prometheus metrics of a server; docs/operations.md lists them.

Counters and histograms are updated when calls end. State (phase, requests in the engine, schema
cache) is read at each scrape. No label has a value that a caller can choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from genir_server.domain.errors import Reason
from genir_server.observability.metrics_certificates import CertificateCollector
from genir_server.observability.metrics_processes import ProcessMemoryCollector
from genir_server.supervision.lifecycle import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client import Metric

    from genir_server.admission import Admission
    from genir_server.observability.call_record import CallEnd, CallRecord
    from genir_server.schema.preparer import Preparer
    from genir_server.supervision.lifecycle import Lifecycle

_SHORT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_QUEUE_BUCKETS = (*_SHORT_BUCKETS, 60, 120, 300, 600)
_LONG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
_PER_TOKEN = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)
_GENERATE_METHODS = ("GenerateIR", "StreamIR")
_REFUSALS = (
    Reason.OVERLOADED,
    Reason.MODEL_LOADING,
    Reason.DRAINING,
    Reason.ENGINE_DEAD,
    Reason.ENGINE_UNAVAILABLE,
    Reason.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED,
)


class Metrics:
    """Observes calls and schema preparation, and holds the registry of all metrics.

    Args:
        lifecycle: the phase of the server, and its engine.
        admission: counts the calls in flight and in the queue.
        model: name of the model.
        configured_backend: the configured structured-output backend; a label value until the
            backend in use is known.
        versions: versions of the installed packages, for `genir_build_info`.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        admission: Admission,
        *,
        model: str,
        configured_backend: str,
        versions: Mapping[str, str],
    ) -> None:
        self._lifecycle = lifecycle
        self._model = model
        self._configured_backend = configured_backend
        self.registry = CollectorRegistry()
        self.state = StateCollector(lifecycle, admission, versions)
        self.registry.register(self.state)
        self.certificates = CertificateCollector()
        self.registry.register(self.certificates)
        self.registry.register(ProcessMemoryCollector())
        labels = ("model", "backend")
        self._calls = self._counter(
            "genir_calls", "Ended calls, by method and status code.", ("method", "code")
        )
        self._call_seconds = self._histogram(
            "genir_call_seconds",
            "Duration of calls, whatever their outcome.",
            _LONG_BUCKETS,
            ("method",),
        )
        self._generations = self._counter(
            "genir_generations",
            "GenerateIR and StreamIR calls by outcome: valid, cancelled, or the error reason.",
            (*labels, "outcome"),
        )
        self._refusals = self._counter(
            "genir_refusals",
            "Calls that the server refused or dropped, by error reason.",
            ("reason",),
        )
        for reason in _REFUSALS:
            self._refusals.labels(reason.value.lower())
        self._generation_seconds = self._histogram(
            "genir_generation_seconds", "Duration of generations with a valid IR.", _LONG_BUCKETS
        )
        self._first_token = self._histogram(
            "genir_time_to_first_token_seconds",
            "Time from the arrival of a call to its first token (TTFT).",
            _LONG_BUCKETS,
        )
        self._per_token = self._histogram(
            "genir_time_per_output_token_seconds",
            "Time per token after the first, of generations with a valid IR.",
            _PER_TOKEN,
        )
        self._queue = self._histogram(
            "genir_queue_seconds",
            "Time until the first engine step, in the queues of server and engine.",
            _QUEUE_BUCKETS,
        )
        self._prompt_tokens = self._counter(
            "genir_prompt_tokens", "Prompt tokens of accepted calls, counted once per call."
        )
        self._cached_tokens = self._counter(
            "genir_cached_prompt_tokens",
            "Prompt tokens found in the prefix cache, over all attempts.",
        )
        self._completion_tokens = self._counter(
            "genir_completion_tokens", "Tokens generated, whether their call succeeded or not."
        )
        self._attempts = self._counter(
            "genir_attempts",
            "Attempts of generations that ended with a result or a failed verification.",
        )
        self._resumptions = self._counter(
            "genir_resumptions",
            "Places where the text of such a generation went on from an earlier place.",
        )
        self._closed_early = self._counter(
            "genir_closed_early",
            "Valid IRs that end early because max_tokens did not suffice.",
        )
        self._schema_seconds = Histogram(
            "genir_schema_preparation_seconds",
            "Time to prepare an uncached schema.",
            buckets=_SHORT_BUCKETS,
            registry=self.registry,
        )
        self._compile_seconds = Histogram(
            "genir_schema_compile_seconds",
            "CPU time to compile the grammar of an uncached schema.",
            buckets=_SHORT_BUCKETS,
            registry=self.registry,
        )

    def call_began(self, record: CallRecord, trace_context: Mapping[str, str]) -> None:
        """Does nothing: calls are counted when they end."""

    def call_ended(self, record: CallRecord, end: CallEnd) -> None:
        """Updates the metrics with an ended call."""
        self._calls.labels(record.method, end.code).inc()
        self._call_seconds.labels(record.method).observe(end.seconds)
        if end.failure is not None and end.failure.reason in _REFUSALS:
            self._refusals.labels(end.failure.reason.value.lower()).inc()
        if record.method in _GENERATE_METHODS:
            self._count_generation(record, end)

    def schema_prepared(self, seconds: float, compile_seconds: float) -> None:
        """Records the preparation of a schema: total seconds and compile CPU seconds."""
        self._schema_seconds.observe(seconds)
        self._compile_seconds.observe(compile_seconds)

    def preparer_started(self, preparer: Preparer) -> None:
        """Reports the counters of the schema cache and the schema workers from now on."""
        self.state.preparer = preparer

    def _count_generation(self, record: CallRecord, end: CallEnd) -> None:
        facts = end.facts
        labels = (self._model, self._backend())
        self._generations.labels(*labels, end.outcome).inc()
        self._prompt_tokens.labels(*labels).inc(facts.get("prompt_tokens", 0))
        self._cached_tokens.labels(*labels).inc(facts.get("cached_prompt_tokens", 0))
        tokens = facts.get("completion_tokens", 0)
        self._completion_tokens.labels(*labels).inc(tokens)
        self._attempts.labels(*labels).inc(facts.get("attempts", 0))
        self._resumptions.labels(*labels).inc(facts.get("resumptions", 0))
        self._closed_early.labels(*labels).inc(facts.get("closed_early", 0) > 0)
        first = record.marks.first_token
        if first is not None:
            self._first_token.labels(*labels).observe(first - record.began)
        if "queue_seconds" in facts:
            self._queue.labels(*labels).observe(facts["queue_seconds"])
        if end.outcome == "valid":
            self._generation_seconds.labels(*labels).observe(end.seconds)
            if first is not None and tokens > 1:
                decode_seconds = end.seconds - (first - record.began)
                self._per_token.labels(*labels).observe(decode_seconds / (tokens - 1))

    def _backend(self) -> str:
        engine = self._lifecycle.engine
        used = "" if engine is None else engine.effective_backend
        return used or self._configured_backend

    def _counter(
        self, name: str, text: str, labels: tuple[str, ...] = ("model", "backend")
    ) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(
        self,
        name: str,
        text: str,
        buckets: Sequence[float],
        labels: tuple[str, ...] = ("model", "backend"),
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


class StateCollector(Collector):
    """Reads the state of the server at each scrape, which may happen in another thread.

    Args:
        lifecycle: the phase of the server, and its engine.
        admission: counts the calls in flight and in the queue.
        versions: versions of the installed packages.
    """

    def __init__(
        self, lifecycle: Lifecycle, admission: Admission, versions: Mapping[str, str]
    ) -> None:
        self._lifecycle = lifecycle
        self._admission = admission
        self._versions = dict(versions)
        self._phase = lifecycle.phase
        self._restarts = 0
        self.preparer: Preparer | None = None
        lifecycle.listen(self._count_restart)

    def _count_restart(self) -> None:
        before, self._phase = self._phase, self._lifecycle.phase
        self._restarts += self._phase is Phase.RESTARTING is not before

    def collect(self) -> Iterable[Metric]:
        """Returns every family, also those without a value yet, so that their names are known."""
        yield InfoMetricFamily(
            "genir_build", "Versions of genir and its engine packages.", self._versions
        )
        phases = GaugeMetricFamily(
            "genir_phase", "1 for the current phase of the server, else 0.", labels=["phase"]
        )
        for phase in Phase:
            phases.add_metric([phase.value], float(phase is self._lifecycle.phase))
        yield phases
        yield GaugeMetricFamily(
            "genir_calls_in_flight",
            "Generate calls in flight: in preparation, queued and running.",
            self._admission.in_flight,
        )
        yield from self._engine()
        yield from self._schema()

    def _engine(self) -> Iterable[Metric]:
        running = GaugeMetricFamily(
            "genir_engine_requests_running",
            "Requests running in the engine, by data-parallel rank.",
            labels=["rank"],
        )
        waiting = GaugeMetricFamily(
            "genir_engine_requests_waiting",
            "Requests queued: in the engine by data-parallel rank, in the server without one.",
            labels=["rank"],
        )
        stepped = GaugeMetricFamily(
            "genir_engine_last_step_timestamp_seconds",
            "Unix time of the last finished engine step, by data-parallel rank.",
            labels=["rank"],
        )
        kv_cache = GaugeMetricFamily(
            "genir_engine_kv_cache_usage_ratio",
            "Part of the KV cache in use, by data-parallel rank.",
            labels=["rank"],
        )
        engine = self._lifecycle.engine
        if engine is not None:
            activity = engine.activity()
            waiting.add_metric([""], activity.in_transit + self._admission.queued)
            for each in activity.ranks:
                rank = [str(each.rank)]
                running.add_metric(rank, each.running)
                waiting.add_metric(rank, each.waiting)
                kv_cache.add_metric(rank, each.kv_cache_usage)
                if each.last_step_time is not None:
                    stepped.add_metric(rank, each.last_step_time)
        yield from (running, waiting, stepped, kv_cache)
        yield CounterMetricFamily(
            "genir_engine_restarts",
            "Restarts of the engine after it died or stalled.",
            self._restarts,
        )

    def _schema(self) -> Iterable[Metric]:
        lookups = CounterMetricFamily(
            "genir_schema_lookups",
            "Lookups in the schema cache: hit, miss, or coalesced with a preparation in progress.",
            labels=["result"],
        )
        refused = CounterMetricFamily(
            "genir_schema_refusals", "Refused schemas, by error reason.", labels=["reason"]
        )
        evictions = CounterMetricFamily("genir_schema_evictions", "Schemas evicted from the cache.")
        workers = CounterMetricFamily(
            "genir_schema_worker_faults",
            "Schemas whose worker process crashed or timed out.",
            labels=["kind"],
        )
        if self.preparer is not None:
            counters = self.preparer.counters
            lookups.add_metric(["hit"], counters.cache.hits)
            lookups.add_metric(["miss"], counters.cache.misses)
            lookups.add_metric(["coalesced"], counters.cache.coalesced)
            for reason, count in dict(counters.refused).items():
                refused.add_metric([reason.value.lower()], count)
            evictions.add_metric([], counters.cache.evictions)
            workers.add_metric(["crash"], counters.pool.crashes)
            workers.add_metric(["timeout"], counters.pool.timeouts)
        yield from (lookups, refused, evictions, workers)
