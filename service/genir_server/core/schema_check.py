"""The schema in force, and what can be told of one without generating."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.core.prompt import shown_by_size
from genir_server.core.validate import check_schema_count, validate_schema
from genir_server.domain.digest import digest
from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.domain.fair_queue import FairQueue
from genir_server.domain.limits import RequestLimits
from genir_server.domain.types import Enforcement, SchemaCoverage, SchemaLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from genir_server.domain.types import SchemaShown
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema, SchemaPreparer, SchemaStatistics

_MAX_ENGINE_SCHEMA_BYTES = 2 << 20
_CALLS_AT_ONCE = 64
_RETRY_AFTER_SECONDS = 1.0
_OUTCOMES_OF_ONE_SCHEMA = frozenset(
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
    """What is asked about a schema. Neither text nor digest means the built-in IR schema.

    `caller` says who asks, as in `GenerationRequest`.
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
        limits: the limits that schemas must keep, and how near this one comes to them.
        engine_schema: what decoding enforces; empty unless asked for, and beyond 2 MiB.
        cached: whether it had been prepared before.
        schema_shown: how much of it a model is shown, as far as that depends on its size.
    """

    schema: PreparedSchema
    coverage: SchemaCoverage
    limits: tuple[SchemaLimit, ...]
    engine_schema: str
    cached: bool
    schema_shown: SchemaShown


async def schema_in_force(
    schemas: SchemaPreparer,
    builtin: PreparedSchema,
    json_schema: str | None,
    schema_digest: str | None,
    *,
    caller: str = "",
    parent: str = "spec.",
) -> PreparedSchema:
    """The schema that a request means: by its text, by its digest, or the built-in one.

    `caller` says who asks; `parent` comes before the names of fields in errors.

    Raises:
        GenirError: SCHEMA_NOT_FOUND, or what `SchemaPreparer.prepare` raises.
    """
    if json_schema is not None:
        try:
            return await schemas.prepare(json_schema, caller)
        except GenirError as error:
            raise _at(f"{parent}json_schema", error) from None
    if schema_digest is None or schema_digest == builtin.digest:
        return builtin
    schema = schemas.known(schema_digest)
    if schema is None:
        raise GenirError(
            Reason.SCHEMA_NOT_FOUND,
            "this server does not know a schema of that digest: send its text in json_schema",
            fields=(FieldViolation(f"{parent}schema_digest", "is not known to this server"),),
        )
    return schema


class SchemaChecker:
    """Answers questions about schemas and keeps schemas ready, beside the generate calls.

    Args:
        schemas: prepares schemas.
        builtin_schema: the schema in force when a caller sends none.
        engine: its tokenizer tells how long a schema is; nothing is generated.
        limits: bounds on one request.
        at_once: how many schemas are prepared at once for this. Fewer than there are workers leave
            one to the generate calls.
    """

    def __init__(
        self,
        schemas: SchemaPreparer,
        builtin_schema: PreparedSchema,
        engine: Engine,
        limits: RequestLimits | None = None,
        *,
        at_once: int = 1,
    ) -> None:
        self._schemas = schemas
        self._builtin = builtin_schema
        self._engine = engine
        self._limits = limits or RequestLimits()
        self._workers: FairQueue[None] = FairQueue()
        for _ in range(max(1, at_once)):
            self._workers.put(None)
        self._calls = 0

    @property
    def statistics(self) -> SchemaStatistics:
        """What the layer that prepares schemas has done."""
        return self._schemas.statistics()

    async def check(self, request: SchemaCheckRequest) -> SchemaCheck:
        """Prepares a schema and tells how well it can be enforced.

        Raises:
            GenirError: the schema cannot be used, its digest is not known, or too many such calls
                are under way (OVERLOADED).
        """
        validate_schema(request.json_schema, request.schema_digest, self._limits)
        cached = True
        if request.json_schema is None:
            schema = await schema_in_force(
                self._schemas, self._builtin, None, request.schema_digest, parent=""
            )
        else:
            known = self._schemas.known(digest(request.json_schema))
            cached = known is not None
            async with self._place():
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
        """Prepares schemas for later calls; each gives its schema or why it cannot be used.

        Raises:
            GenirError: INVALID_FIELD for too many; OVERLOADED when too many such calls are under
                way; DRAINING.
        """
        check_schema_count(len(texts), self._limits)
        outcomes: list[PreparedSchema | GenirError] = []
        async with self._place():
            for index, text in enumerate(texts):
                field = f"json_schemas[{index}]"
                try:
                    validate_schema(text, None, self._limits, field=field)
                    outcomes.append(await self._prepared(text, field, caller))
                except GenirError as error:
                    if error.reason not in _OUTCOMES_OF_ONE_SCHEMA:
                        raise
                    outcomes.append(error)
        return outcomes

    async def _prepared(self, text: str, field: str, caller: str) -> PreparedSchema:
        await self._workers.get(caller)
        try:
            return await self._schemas.prepare(text, caller)
        except GenirError as error:
            raise _at(field, error) from None
        finally:
            self._workers.put(None)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._calls >= _CALLS_AT_ONCE:
            raise GenirError(
                Reason.OVERLOADED,
                f"{self._calls} calls about schemas are under way, the most this server takes: try "
                "again later or elsewhere",
                retry_after=_RETRY_AFTER_SECONDS,
                metadata={"max": str(_CALLS_AT_ONCE)},
            )
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1


def _coverage(schema: PreparedSchema) -> SchemaCoverage:
    left = any(n.enforcement is Enforcement.CHECKED_AFTER_DECODING for n in schema.notices)
    return SchemaCoverage.CHECKED if left else SchemaCoverage.EXACT


def _at(field: str, error: GenirError) -> GenirError:
    """The same refusal of a schema that stood in `field`."""
    return GenirError(
        error.reason,
        error.message,
        fields=tuple(FieldViolation(field, violation.description) for violation in error.fields),
        retry_after=error.retry_after,
        metadata=error.metadata,
    )
