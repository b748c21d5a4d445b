"""Checks schemas and keeps them ready, without generating."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.core.prompt import shown_by_size
from genir_server.core.schema_in_force import refusal_at, schema_in_force
from genir_server.core.validate import validate_schema
from genir_server.domain.digest import digest
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.fair_queue import FairQueue
from genir_server.domain.shared_places import SharedPlaces
from genir_server.domain.types import Enforcement, SchemaCoverage, SchemaLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from genir_server.domain.types import SchemaShown
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema, SchemaPreparer, SchemaStatistics

_MAX_ENGINE_SCHEMA_BYTES = 2 << 20
_MAX_CALLS = 128
_MAX_CALLS_PER_CALLER = 64
_REASONS_OF_ONE_SCHEMA = frozenset(
    {
        Reason.INVALID_FIELD,
        Reason.SCHEMA_INVALID,
        Reason.SCHEMA_UNSUPPORTED,
        Reason.SCHEMA_TOO_COMPLEX,
        Reason.OVERLOADED,
    }
)


@dataclass(frozen=True, slots=True)
class SchemaCheckRequest:
    """A question about a schema. Neither text nor digest means the built-in IR schema.

    `caller` is the caller's name, as in `GenerationRequest`.
    """

    json_schema: str | None = None
    schema_digest: str | None = None
    include_engine_schema: bool = False
    caller: str = ""


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """How well a schema can be enforced.

    Attributes:
        schema: the schema, prepared.
        coverage: how much of it decoding enforces.
        limits: the limits on schemas, and this schema's values.
        engine_schema: what decoding enforces; empty unless requested, and if longer than 2 MiB.
        cached: whether it had been prepared before.
        schema_shown: how much of it AUTO shows to a model beside a short prompt.
    """

    schema: PreparedSchema
    coverage: SchemaCoverage
    limits: tuple[SchemaLimit, ...]
    engine_schema: str
    cached: bool
    schema_shown: SchemaShown


class SchemaChecker:
    """Checks schemas and keeps them ready while generate calls run.

    Args:
        schemas: prepares schemas.
        builtin_schema: the schema in force when a caller sends none.
        engine: counts the tokens of a schema; generates nothing.
        concurrency: schemas prepared at the same time. If it is smaller than the number of workers,
            generate calls find a worker. One more schema may be prepared for a caller who has no
            other under way, so that nobody waits behind a backlog of others.
    """

    def __init__(
        self,
        schemas: SchemaPreparer,
        builtin_schema: PreparedSchema,
        engine: Engine,
        *,
        concurrency: int = 1,
    ) -> None:
        self._schemas = schemas
        self._builtin = builtin_schema
        self._engine = engine
        self._workers: FairQueue[None] = FairQueue()
        for _ in range(max(1, concurrency)):
            self._workers.add(None)
        self._under_way: Counter[str] = Counter()
        self._extra_is_free = True
        self._calls = SharedPlaces(
            "calls about schemas are in flight", _MAX_CALLS, _MAX_CALLS_PER_CALLER
        )

    @property
    def statistics(self) -> SchemaStatistics:
        """Counters of the schema preparer."""
        return self._schemas.statistics()

    async def check(self, request: SchemaCheckRequest) -> SchemaCheck:
        """Prepares a schema and reports how well decoding can enforce it.

        Raises:
            GenirError: the schema cannot be used, its digest is not known, or too many calls about
                schemas, of this caller or of all, are in flight (OVERLOADED).
        """
        validate_schema(request.json_schema, request.schema_digest)
        with self._calls.held(request.caller):
            return await self._check(request)

    async def _check(self, request: SchemaCheckRequest) -> SchemaCheck:
        cached = True
        if request.json_schema is None:
            schema = await schema_in_force(
                self._schemas, self._builtin, None, request.schema_digest, parent=""
            )
        else:
            known = self._schemas.known(digest(request.json_schema))
            cached = known is not None
            schema = known or await self._prepared(
                request.json_schema, "json_schema", request.caller
            )
        engine_schema = ""
        if request.include_engine_schema:
            size = len(schema.engine_schema.encode())
            engine_schema = schema.engine_schema if size <= _MAX_ENGINE_SCHEMA_BYTES else ""
        return SchemaCheck(
            schema=schema,
            coverage=_coverage(schema),
            limits=tuple(
                SchemaLimit(name, maximum, schema.measured.get(name))
                for name, maximum in self._schemas.limits().items()
            ),
            engine_schema=engine_schema,
            cached=cached,
            schema_shown=await shown_by_size(schema, self._engine),
        )

    async def keep_ready(
        self, texts: Sequence[str], caller: str = ""
    ) -> list[PreparedSchema | GenirError]:
        """Prepares schemas for later calls; returns for each the schema or why it cannot be used.

        Raises:
            GenirError: OVERLOADED when too many calls about schemas are in flight; DRAINING.
        """
        outcomes: list[PreparedSchema | GenirError] = []
        with self._calls.held(caller):
            for index, text in enumerate(texts):
                field = f"json_schemas[{index}]"
                try:
                    validate_schema(text, None, field=field)
                    outcomes.append(await self._prepared(text, field, caller))
                except GenirError as error:
                    if error.reason not in _REASONS_OF_ONE_SCHEMA:
                        raise
                    outcomes.append(error)
        return outcomes

    async def _prepared(self, text: str, field: str, caller: str) -> PreparedSchema:
        async with self._worker(caller):
            try:
                return await self._schemas.prepare(text, caller)
            except GenirError as error:
                raise refusal_at(field, error) from None

    @asynccontextmanager
    async def _worker(self, caller: str) -> AsyncIterator[None]:
        """Waits for a place among the schemas that are prepared at the same time."""
        alone = not self._under_way[caller]
        self._under_way[caller] += 1
        extra = alone and self._extra_is_free and not self._workers.free
        try:
            if extra:
                self._extra_is_free = False
                yield
                return
            await self._workers.get(caller)
            try:
                yield
            finally:
                self._workers.put(None, caller)
        finally:
            if extra:
                self._extra_is_free = True
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]


def _coverage(schema: PreparedSchema) -> SchemaCoverage:
    left = any(n.enforcement is Enforcement.CHECKED_AFTER_DECODING for n in schema.notices)
    return SchemaCoverage.CHECKED if left else SchemaCoverage.EXACT
