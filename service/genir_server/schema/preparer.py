"""The entry point of this package: schema text in, prepared schema out."""

from __future__ import annotations

import asyncio
import hashlib
import math
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Tightening
from genir_server.schema.analysis import decode_reply
from genir_server.schema.cache import ByteBoundedCache, CacheCounters
from genir_server.schema.closing.message import ClosingRequest
from genir_server.schema.errors import SchemaRefusedError, invalid, too_complex
from genir_server.schema.isolated_pipeline import IsolatedPipeline
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import ClosingPlan, PreparedSchema, SchemaStatistics, VerifierSource
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from genir_server.domain.grammar_tokenizer import GrammarTokenizer
    from genir_server.schema.isolation.pool import PoolCounters
    from genir_server.schema.types import WrittenText

DEFAULT_CACHE_BYTES = 256 << 20
"""Bound on the size of all cached schemas and refusals, in bytes."""

_BYTES_PER_ENTRY = 4_096
_BYTES_PER_NOTICE = 400
# A schema that was refused for the time or memory it took is tried again after this.
_REFUSED_SECONDS = 10.0


@dataclass(slots=True)
class PreparationTimes:
    """Seconds from request to result for schemas that were not in the cache."""

    count: int = 0
    total_seconds: float = 0.0
    max_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PreparerCounters:
    """What a preparer has done since its start."""

    cache: CacheCounters
    pool: PoolCounters
    times: PreparationTimes = field(default_factory=PreparationTimes)
    refused: Counter[Reason] = field(default_factory=Counter)


@dataclass(slots=True)
class _Preparation:
    """A preparation that callers wait for, and whether a worker has begun with it."""

    task: asyncio.Task[PreparedSchema]
    waiting: int = 0
    has_begun: bool = False

    def begin(self) -> None:
        self.has_begun = True


class Preparer:
    """Prepares schemas in worker processes and caches the results.

    Args:
        tokenizer: the model's, for the trial compile; None for a tokenizer of single bytes.
        limits: what is refused.
        bounds: bounds on output where a schema sets none.
        for_xgrammar: whether engine schemas have to suit the backend xgrammar.
        workers: worker processes, 1 and up.
        cache_bytes: bound on the size of all cached schemas and refusals, in bytes.
        on_prepared: called after an uncached schema is prepared, with the total seconds and the
            processor seconds of compiling its grammar.

    """

    def __init__(
        self,
        tokenizer: GrammarTokenizer | None,
        limits: SchemaLimits | None = None,
        *,
        bounds: NarrowingBounds | None = None,
        for_xgrammar: bool = False,
        workers: int = 1,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        on_prepared: Callable[[float, float], None] | None = None,
    ) -> None:
        self._on_prepared = on_prepared
        self._limits = limits or SchemaLimits()
        self._pipeline = IsolatedPipeline(
            tokenizer,
            self._limits,
            bounds or NarrowingBounds(),
            workers,
            for_xgrammar=for_xgrammar,
        )
        self._cache: ByteBoundedCache[PreparedSchema | GenirError] = ByteBoundedCache(cache_bytes)
        self._in_progress: dict[tuple[str, str], _Preparation] = {}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="genir-schema")
        self.counters = PreparerCounters(self._cache.counters, self._pipeline.counters)

    async def start(self) -> None:
        """Starts the worker processes and waits until they are warm.

        Raises:
            OSError: a process cannot be started.
            RuntimeError: a worker does not start; the message says why.

        """
        await self._pipeline.start()

    async def close(self) -> None:
        """Ends the worker processes. May be called more than once."""
        for preparation in list(self._in_progress.values()):
            preparation.task.cancel()
        await self._pipeline.close()
        self._executor.shutdown(wait=False)

    def known(self, digest: str) -> PreparedSchema | None:
        """The prepared schema with that digest, if it is in the cache."""
        cached = self._cache.get(digest)
        if not isinstance(cached, PreparedSchema):
            return None
        self._cache.counters.hits += 1
        return cached

    def limits(self) -> dict[str, float]:
        """The limits that schemas must keep, by name: counts, bytes or seconds."""
        limits = asdict(self._limits)
        # Exceeding this limit moves a schema to another worker and refuses nothing.
        del limits["quick_seconds"]
        return limits

    def statistics(self) -> SchemaStatistics:
        """What was done since the start."""
        cache, pool, times = self.counters.cache, self.counters.pool, self.counters.times
        return SchemaStatistics(
            entries=len(self._cache),
            size_bytes=self._cache.size_bytes,
            max_bytes=self._cache.max_bytes,
            hits=cache.hits,
            misses=cache.misses,
            coalesced=cache.coalesced,
            evictions=cache.evictions,
            prepared=times.count,
            total_prepare_seconds=times.total_seconds,
            max_prepare_seconds=times.max_seconds,
            refused=dict(self.counters.refused),
            worker_crashes=pool.crashes,
            worker_timeouts=pool.timeouts,
            workers_recycled=pool.replaced,
        )

    async def prepare(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> PreparedSchema:
        """Checks and prepares a schema. Does not block the event loop.

        Equal texts of one caller share one preparation. The result is cached for all, a refusal
        too; a refusal for the time or memory that was needed only for some seconds. Callers do
        not share preparations, because a caller's jobs may wait behind its other jobs.

        Args:
            text: the schema.
            caller: who sent it; callers that wait share the workers fairly.
            tightening: what the engine schema rules out beyond the usual.

        Raises:
            GenirError: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX, with a
                FieldViolation for ``spec.json_schema``; OVERLOADED or DRAINING.

        """
        digest = self._digest(text)
        # A caller's digest has no space in it, so `known` finds only schemas without tightening.
        key = f"{digest} {tightening.value}" if tightening else digest
        result = self._cache.get(key)
        if result is None:
            result = await self._join(
                (key, caller),
                lambda begin: self._prepare(key, digest, text, caller, tightening, begin=begin),
            )
        else:
            self._cache.counters.hits += 1
        if isinstance(result, GenirError):
            # One exception object must not be raised in several places at once.
            raise GenirError(
                result.reason, result.message, fields=result.fields, metadata=dict(result.metadata)
            )
        return result

    async def plan_closing(
        self,
        schema: PreparedSchema,
        written: WrittenText,
        max_tokens: int,
        caller: str = "",
    ) -> ClosingPlan | None:
        """How a half-written value ends within a budget. Does not block the event loop.

        Args:
            schema: the schema in force.
            written: what the model wrote.
            max_tokens: the budget of the whole value, in tokens.
            caller: whose value it is; callers that wait share the workers fairly.

        Returns:
            The plan; None if no end was found. With a budget of `closable_tokens` there is always
            one.

        """
        request = ClosingRequest(written, schema.source, max_tokens)
        plan = await self._pipeline.plan_closing(request, caller)
        if plan is None and schema.minimal_instance and schema.closable_tokens <= max_tokens:
            total = schema.closable_tokens
            return ClosingPlan(0, "", None, "", schema.minimal_instance, (), 0, total, ("",))
        return plan

    def _digest(self, text: str) -> str:
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raise invalid("The schema's text contains an unpaired surrogate.").to_error() from None
        if len(raw) > self._limits.schema_bytes:
            raise too_complex(
                "The schema's text is too long",
                "schema_bytes",
                self._limits.schema_bytes,
                len(raw),
            ).to_error()
        return f"sha256:{hashlib.sha256(raw).hexdigest()}"

    async def _join(
        self,
        key: tuple[str, str],
        prepare: Callable[[Callable[[], None]], Coroutine[None, None, PreparedSchema]],
    ) -> PreparedSchema:
        """The result of a preparation that callers share; `prepare` calls its argument to begin."""
        preparation = self._in_progress.get(key)
        if preparation is None:
            self.counters.cache.misses += 1
            preparation = self._start(key, prepare)
        else:
            self.counters.cache.coalesced += 1
        preparation.waiting += 1
        try:
            # A caller that goes away must not cancel the preparation for the others.
            return await asyncio.shield(preparation.task)
        except asyncio.CancelledError:
            if preparation.task.cancelled():
                raise GenirError(Reason.DRAINING, "the server is shutting down") from None
            raise
        finally:
            preparation.waiting -= 1
            # What a worker has begun with goes on: the caller may come back for it.
            if not preparation.waiting and not preparation.has_begun:
                if self._in_progress.get(key) is preparation:
                    del self._in_progress[key]
                preparation.task.cancel()

    def _start(
        self,
        key: tuple[str, str],
        prepare: Callable[[Callable[[], None]], Coroutine[None, None, PreparedSchema]],
    ) -> _Preparation:
        preparation: _Preparation

        async def run() -> PreparedSchema:
            return await prepare(preparation.begin)

        preparation = _Preparation(asyncio.get_running_loop().create_task(run()))
        self._in_progress[key] = preparation
        preparation.task.add_done_callback(lambda _: self._finished(key, preparation))
        return preparation

    def _finished(self, key: tuple[str, str], preparation: _Preparation) -> None:
        if self._in_progress.get(key) is preparation:
            del self._in_progress[key]
        if not preparation.task.cancelled():
            preparation.task.exception()

    async def _prepare(
        self,
        key: str,
        digest: str,
        text: str,
        caller: str,
        tightening: Tightening,
        *,
        begin: Callable[[], None],
    ) -> PreparedSchema:
        start = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            result = await self._pipeline.analyse(text, caller, tightening, begin)
            prepared, size_bytes = await loop.run_in_executor(
                self._executor, _assemble, digest, text, result.body
            )
        except SchemaRefusedError as refusal:
            error = refusal.to_error()
            if not tightening:
                # A tightened form that is refused is not an error: the attempt does without it.
                self.counters.refused[error.reason] += 1
            seconds = _REFUSED_SECONDS if refusal.may_change else math.inf
            self._cache.put(key, error, _BYTES_PER_ENTRY + refusal.size_bytes, seconds)
            raise error from None
        self._cache.put(key, prepared, size_bytes)
        seconds = time.monotonic() - start
        times = self.counters.times
        times.count += 1
        times.total_seconds += seconds
        times.max_seconds = max(times.max_seconds, seconds)
        if self._on_prepared is not None:
            self._on_prepared(seconds, prepared.compile_seconds)
        return prepared


def _assemble(digest: str, text: str, reply: bytes) -> tuple[PreparedSchema, int]:
    """The prepared schema that a worker's reply describes, and how many bytes it takes.

    Raises:
        SchemaRefusedError: the reply is a refusal.

    """
    analysis = decode_reply(reply)
    draft = Draft(analysis.draft)
    source = VerifierSource(analysis.verifier_schema or text, draft, analysis.verifier_patterns)
    prepared = PreparedSchema(
        digest=digest,
        text=text,
        engine_schema=analysis.engine_schema,
        notices=analysis.notices,
        source=source,
        # Safe here: the worker has compiled the same text within its limits.
        verifier=None if analysis.verifier_bytes is None else SchemaVerifier.of(source),
        node_seconds=analysis.node_seconds,
        byte_seconds=analysis.byte_seconds,
        shown_full=analysis.shown_full,
        shown_without_descriptions=analysis.shown_without_descriptions,
        minimal_instance=analysis.minimal_instance,
        min_tokens=analysis.min_tokens,
        closable_tokens=analysis.closable_tokens,
        draft=draft.label,
        prepare_seconds=analysis.seconds,
        compile_seconds=analysis.compile_seconds,
        max_mask_seconds=analysis.max_mask_seconds,
        measured=analysis.measured,
    )
    return prepared, (analysis.verifier_bytes or 0) + _size_bytes(prepared)


def _size_bytes(schema: PreparedSchema) -> int:
    """The memory of a prepared schema without its verifier."""
    texts = [
        schema.text,
        schema.source.text,
        schema.engine_schema,
        schema.shown_full,
        schema.shown_without_descriptions,
        schema.minimal_instance,
    ]
    for written, own in schema.source.patterns:
        texts += [written, own]
    for notice in schema.notices:
        texts += [notice.keyword, notice.pointer, notice.detail]
    size = _BYTES_PER_ENTRY + _BYTES_PER_NOTICE * len(schema.notices)
    return size + sum(map(sys.getsizeof, texts))
