"""The way into this package: schema text in, prepared schema out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Enforcement, SchemaNotice, Tightening
from genir_server.schema.cache import ByteBoundedCache, CacheCounters
from genir_server.schema.errors import SchemaRefusedError, invalid, too_complex
from genir_server.schema.isolation.pool import PoolCounters, WorkerPool
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import PreparedSchema, SchemaStatistics
from genir_server.schema.verify.isolated import GuardedVerifier, Verification
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

DEFAULT_CACHE_BYTES = 256 << 20
"""Bound on all that is kept about schemas, in bytes."""

# A compiled validator takes several times the room of its schema's text.
_BYTES_PER_CHARACTER = 12
_BYTES_PER_ENTRY = 4_096


@dataclass(slots=True)
class PreparationTimes:
    """Seconds spent on preparing schemas that were not known: how many, in all, and the worst."""

    count: int = 0
    total_seconds: float = 0.0
    worst_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PreparerCounters:
    """What a preparer has done since its start."""

    cache: CacheCounters
    pool: PoolCounters
    times: PreparationTimes = field(default_factory=PreparationTimes)
    refused: Counter[Reason] = field(default_factory=Counter)


class Preparer:
    """Prepares schemas in worker processes and keeps the results.

    Args:
        tokenizer_source: model folder whose ``tokenizer.json`` the probe uses, or such a file;
            None stands for a tokenizer of single bytes.
        limits: what is refused.
        bounds: how far output is bounded where a schema sets no bound.
        for_xgrammar: whether the engine schemas have to suit the backend xgrammar.
        workers: worker processes, 1 and up.
        cache_bytes: bound on all that is kept, in bytes.
        on_prepared: is told the seconds that a schema took that was not known, and of these the
            processor time of compiling its grammar.

    """

    def __init__(
        self,
        tokenizer_source: Path | str | None,
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
        self._pool = WorkerPool(
            tokenizer_source,
            self._limits,
            bounds or NarrowingBounds(),
            workers,
            for_xgrammar=for_xgrammar,
        )
        self._cache: ByteBoundedCache[PreparedSchema | GenirError] = ByteBoundedCache(cache_bytes)
        self._under_way: dict[str, asyncio.Task[PreparedSchema]] = {}
        self._verification = Verification()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="genir-schema")
        self.counters = PreparerCounters(self._cache.counters, self._pool.counters)

    async def start(self) -> None:
        """Starts the worker processes and waits until they are warm.

        Raises:
            RuntimeError: a worker does not start; the message says why.

        """
        await self._pool.start()

    async def close(self) -> None:
        """Ends worker processes. May be called more than once."""
        for task in list(self._under_way.values()):
            task.cancel()
        await self._pool.close()
        self._verification.close()
        self._threads.shutdown(wait=False)

    def known(self, digest: str) -> PreparedSchema | None:
        """The schema of that digest if it was prepared before and is still kept."""
        kept = self._cache.get(digest)
        if not isinstance(kept, PreparedSchema):
            return None
        self._cache.counters.hits += 1
        return kept

    def limits(self) -> dict[str, float]:
        """The limits that schemas must keep, by name: counts, bytes or seconds."""
        # What is over the quick limit only moves elsewhere.
        return {
            name: most for name, most in asdict(self._limits).items() if name != "quick_seconds"
        }

    def statistics(self) -> SchemaStatistics:
        """What was done since the start."""
        cache, pool, times = self.counters.cache, self.counters.pool, self.counters.times
        return SchemaStatistics(
            entries=len(self._cache),
            size_bytes=self._cache.bytes,
            max_bytes=self._cache.max_bytes,
            hits=cache.hits,
            misses=cache.misses,
            coalesced=cache.coalesced,
            evictions=cache.evictions,
            prepared=times.count,
            total_prepare_seconds=times.total_seconds,
            max_prepare_seconds=times.worst_seconds,
            refused=dict(self.counters.refused),
            worker_crashes=pool.crashes,
            worker_timeouts=pool.timeouts,
            workers_recycled=pool.replaced,
        )

    async def prepare(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> PreparedSchema:
        """Checks and prepares a schema. Does not block the event loop.

        Equal texts share one preparation, and its result is kept, refusals too. `caller` says who
        asks: where workers are few, callers get one in turns. `tightening` is what the engine
        schema rules out beside the usual.

        Raises:
            GenirError: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX, with a
                FieldViolation for ``spec.json_schema``.

        """
        digest = self._digest(text)
        # No digest from a caller has a space in it.
        key = f"{digest} {tightening.value}" if tightening else digest
        kept = self._cache.get(key)
        if kept is None:
            kept = await self._join(
                key, lambda: self._prepare(key, digest, text, caller, tightening)
            )
        else:
            self._cache.counters.hits += 1
        if isinstance(kept, GenirError):
            # One exception object must not be raised in several places at once.
            raise GenirError(
                kept.reason, kept.message, fields=kept.fields, metadata=dict(kept.metadata)
            )
        return kept

    def _digest(self, text: str) -> str:
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raise invalid("The schema's text holds half of a surrogate pair.").to_error() from None
        if len(raw) > self._limits.schema_bytes:
            raise too_complex(
                "The schema's text is too long",
                "schema_bytes",
                self._limits.schema_bytes,
                len(raw),
            ).to_error()
        return f"sha256:{hashlib.sha256(raw).hexdigest()}"

    async def _join(
        self, key: str, prepare: Callable[[], Coroutine[None, None, PreparedSchema]]
    ) -> PreparedSchema:
        task = self._under_way.get(key)
        if task is None:
            self._cache.counters.misses += 1
            task = asyncio.get_running_loop().create_task(prepare())
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        else:
            self._cache.counters.coalesced += 1
        try:
            # A caller that goes away must not take the others' preparation along.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise GenirError(Reason.DRAINING, "the server is going down") from None
            raise

    def _finished(self, key: str, task: asyncio.Task[PreparedSchema]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()

    async def _prepare(
        self, key: str, digest: str, text: str, caller: str, tightening: Tightening
    ) -> PreparedSchema:
        start = time.monotonic()
        try:
            reply = await self._pool.analyse(text, caller, tightening)
            loop = asyncio.get_running_loop()
            prepared, size = await loop.run_in_executor(
                self._threads, _assemble, digest, text, reply, self._verification
            )
        except SchemaRefusedError as refusal:
            error = refusal.to_error()
            if not tightening:
                # A caller is refused the usual form only; without another, an attempt is without.
                self.counters.refused[error.reason] += 1
            self._cache.put(key, error, _BYTES_PER_ENTRY + refusal.size)
            raise error from None
        self._cache.put(key, prepared, size)
        seconds = time.monotonic() - start
        times = self.counters.times
        times.count += 1
        times.total_seconds += seconds
        times.worst_seconds = max(times.worst_seconds, seconds)
        if self._on_prepared is not None:
            self._on_prepared(seconds, prepared.compile_seconds)
        return prepared


def _assemble(
    digest: str, text: str, reply: bytes, verification: Verification
) -> tuple[PreparedSchema, int]:
    """The prepared schema that a worker's reply describes, and about how many bytes it takes.

    Raises:
        SchemaRefusedError: the reply is a refusal.

    """
    analysis = json.loads(reply)
    if "reason" in analysis:
        raise SchemaRefusedError(
            Reason(analysis["reason"]), analysis["message"], **analysis["metadata"]
        )
    draft = Draft(analysis["draft"])
    prepared = PreparedSchema(
        digest=digest,
        text=text,
        engine_schema=analysis["engine_schema"],
        notices=tuple(
            SchemaNotice(
                notice["keyword"],
                notice["pointer"],
                Enforcement(notice["enforcement"]),
                notice["detail"],
            )
            for notice in analysis["notices"]
        ),
        # The worker compiled the same text before, within its limits.
        verifier=(
            GuardedVerifier(verification, text, draft)
            if analysis["guarded"]
            else SchemaVerifier(text, draft)
        ),
        shown_full=analysis["shown_full"],
        shown_without_descriptions=analysis["shown_without_descriptions"],
        minimal_instance=analysis["minimal_instance"],
        min_tokens=analysis["min_tokens"],
        draft=draft.label,
        prepare_seconds=analysis["seconds"],
        compile_seconds=analysis["compile_seconds"],
        max_mask_seconds=analysis["max_mask_seconds"],
        measured=analysis["measured"],
    )
    return prepared, _BYTES_PER_ENTRY + _BYTES_PER_CHARACTER * len(text) + len(reply)
