"""Checks, warm-ups and counts of schemas as protobuf messages; the other half of `convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir.v1 import ir_service_pb2 as service
from genir.v1 import schema_pb2 as schema
from genir_server.core.schema_check import SchemaCheckRequest
from genir_server.domain.errors import GenirError
from genir_server.domain.types import SchemaCoverage
from genir_server.transport.convert import SCHEMA_SHOWN, duration, error_reason, notice_to_proto

if TYPE_CHECKING:
    from genir_server.core.schema_check import SchemaCheck
    from genir_server.domain.types import SchemaLimit
    from genir_server.schema.types import PreparedSchema, SchemaStatistics

_SCHEMA_COVERAGES = {
    SchemaCoverage.EXACT: schema.SCHEMA_COVERAGE_EXACT,
    SchemaCoverage.CHECKED: schema.SCHEMA_COVERAGE_CHECKED,
}
_MAX_REFUSAL_TEXT = 200
_MAX_REFUSAL_MESSAGE = 400


def schema_check_from_request(
    request: service.CheckSchemaRequest, caller: str = ""
) -> SchemaCheckRequest:
    """What is asked about a schema."""
    return SchemaCheckRequest(
        json_schema=request.json_schema if request.HasField("json_schema") else None,
        schema_digest=request.schema_digest if request.HasField("schema_digest") else None,
        include_engine_schema=request.include_engine_schema,
        caller=caller,
    )


def schema_check_to_proto(check: SchemaCheck, request_id: str) -> service.CheckSchemaResponse:
    """How well a schema can be enforced."""
    prepared = check.schema
    return service.CheckSchemaResponse(
        schema_digest=prepared.digest,
        draft=prepared.draft,
        coverage=_SCHEMA_COVERAGES[check.coverage],
        schema_notices=map(notice_to_proto, prepared.notices),
        prepare_elapsed=duration(prepared.prepare_seconds),
        compile_elapsed=duration(prepared.compile_seconds),
        max_mask_elapsed=duration(prepared.max_mask_seconds),
        limits=map(_limit_to_proto, check.limits),
        minimal_instance=prepared.minimal_instance or "",
        min_tokens=prepared.min_tokens,
        closable_tokens=prepared.closable_tokens,
        engine_schema=check.engine_schema,
        cached=check.cached,
        schema_shown=SCHEMA_SHOWN[check.schema_shown],
        request_id=request_id,
    )


def warmed_schema_to_proto(outcome: PreparedSchema | GenirError) -> schema.WarmedSchema:
    """What became of one schema of a warm-up."""
    if not isinstance(outcome, GenirError):
        return schema.WarmedSchema(schema_digest=outcome.digest)
    return schema.WarmedSchema(
        refusal=schema.SchemaRefusal(
            reason=error_reason(outcome),
            message=outcome.message[:_MAX_REFUSAL_MESSAGE],
            metadata={key: value[:_MAX_REFUSAL_TEXT] for key, value in outcome.metadata.items()},
        )
    )


def schema_statistics_to_proto(statistics: SchemaStatistics) -> schema.SchemaCacheStats:
    """What the layer that prepares schemas has done."""
    return schema.SchemaCacheStats(
        entries=statistics.entries,
        size_bytes=statistics.size_bytes,
        max_bytes=statistics.max_bytes,
        hits=statistics.hits,
        misses=statistics.misses,
        coalesced=statistics.coalesced,
        evictions=statistics.evictions,
        prepared=statistics.prepared,
        total_prepare_elapsed=duration(statistics.total_prepare_seconds),
        max_prepare_elapsed=duration(statistics.max_prepare_seconds),
        refused={reason.value: count for reason, count in statistics.refused.items()},
        worker_crashes=statistics.worker_crashes,
        worker_timeouts=statistics.worker_timeouts,
        workers_recycled=statistics.workers_recycled,
    )


def _limit_to_proto(limit: SchemaLimit) -> schema.SchemaLimit:
    return schema.SchemaLimit(name=limit.name, max=limit.max, value=limit.value)
