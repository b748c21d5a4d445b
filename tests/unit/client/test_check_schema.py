"""`check_schema`, and the schemas of `warmup`."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from genir import (
    Enforcement,
    NotFoundError,
    SchemaCoverage,
    SchemaError,
    SchemaLimit,
    SchemaNotice,
    SchemaShown,
    WarmedSchema,
)
from genir.v1 import ir_service_pb2, schema_pb2, status_pb2
from tests.support.contract_server import DIGEST, Call, ContractServer, Refusal, checked, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client_adapters import Caller


async def test_check_holds_every_field_of_the_response(
    caller: Caller, server: ContractServer
) -> None:
    server.service.checks = deque([checked])
    check = await caller.check_schema({"uniqueItems": True}, include_engine_schema=True)
    request = server.calls[-1].request
    assert isinstance(request, ir_service_pb2.CheckSchemaRequest)
    assert request.json_schema == '{"uniqueItems":true}'
    assert check.schema_digest == digest_of('{"uniqueItems":true}')
    assert check.draft == "2020-12"
    assert check.coverage is SchemaCoverage.CHECKED
    assert check.schema_notices == (
        SchemaNotice(
            "uniqueItems",
            "/uniqueItems",
            Enforcement.CHECKED_AFTER_DECODING,
            "the engine cannot compare items",
        ),
    )
    assert check.prepare_elapsed == timedelta(milliseconds=30)
    assert check.compile_elapsed == timedelta(milliseconds=4)
    assert check.max_mask_elapsed == timedelta(microseconds=250)
    assert check.limits == (
        SchemaLimit("nodes", 50_000, 40_000),
        SchemaLimit("probe_wall_seconds", 10, None),
    )
    assert (check.minimal_instance, check.min_tokens, check.closable_tokens) == ("[]", 2, 2)
    assert (check.engine_schema, check.cached) == ("{}", True)
    assert (check.schema_shown, check.request_id) == (SchemaShown.FULL, "r-3")


async def test_check_of_a_digest_or_of_the_built_in_schema(
    caller: Caller, server: ContractServer
) -> None:
    server.service.checks = deque([checked])
    await caller.check_schema(schema_digest=DIGEST)
    await caller.check_schema()
    by_digest, builtin = (call.request for call in server.calls)
    assert isinstance(by_digest, ir_service_pb2.CheckSchemaRequest)
    assert isinstance(builtin, ir_service_pb2.CheckSchemaRequest)
    assert by_digest.schema_digest == DIGEST
    assert builtin.WhichOneof("schema") is None


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_TOO_COMPLEX", SchemaError),
        (grpc.StatusCode.NOT_FOUND, "SCHEMA_NOT_FOUND", NotFoundError),
    ],
)
async def test_unusable_schema_raises_the_error_of_a_generate_call(
    caller: Caller,
    server: ContractServer,
    code: grpc.StatusCode,
    reason: str,
    kind: type[SchemaError | NotFoundError],
) -> None:
    def refuse(call: Call) -> ir_service_pb2.CheckSchemaResponse:
        Refusal(code, reason, metadata={"limit": "nodes"}).abort(call)

    server.service.checks = deque([refuse])
    with pytest.raises(kind) as raised:
        await caller.check_schema("{}")
    assert (raised.value.reason, raised.value.metadata["limit"]) == (reason, "nodes")


async def test_warmup_takes_schemas_of_every_kind_and_reports_each(
    caller: Caller, server: ContractServer, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    file.write_text('{ "type": "null" }')

    def warm(call: Call) -> ir_service_pb2.WarmupResponse:
        request = call.request
        assert isinstance(request, ir_service_pb2.WarmupRequest)
        assert list(request.json_schemas) == ['{ "type": "null" }', '{"type":"nil"}']
        refusal = schema_pb2.SchemaRefusal(
            reason=status_pb2.ERROR_REASON_SCHEMA_INVALID,
            message="no such type",
            metadata={"pointer": "/type"},
        )
        return ir_service_pb2.WarmupResponse(
            ir_json="{}",
            schema_digest=DIGEST,
            schemas=[
                schema_pb2.WarmedSchema(schema_digest=digest_of(request.json_schemas[0])),
                schema_pb2.WarmedSchema(refusal=refusal),
            ],
        )

    server.service.warmups = deque([warm])
    result = await caller.warmup(schemas=[file, {"type": "nil"}])
    assert result.schemas == (
        WarmedSchema(digest_of('{ "type": "null" }'), "", "", {}),
        WarmedSchema("", "SCHEMA_INVALID", "no such type", {"pointer": "/type"}),
    )


async def test_warmup_refuses_none_as_a_schema(caller: Caller) -> None:
    with pytest.raises(TypeError, match="None"):
        await caller.warmup(schemas=[None])
