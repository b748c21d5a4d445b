"""CheckSchema and the schemas of a warm-up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from jsonschema import Draft202012Validator

from genir import Accepted, Enforcement, SchemaCoverage, SchemaError, SchemaShown
from genir.schemas import builtin_ir_schema, builtin_ir_schema_text
from genir.v1 import ir_service_pb2
from tests.support.calls import SMALL_SCHEMA, refusal_from, refused
from tests.support.grpcurl import GRPCURL, grpcurl

if TYPE_CHECKING:
    from pathlib import Path

    from bench.support.server_process import ServerProcess
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc

TAGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "tags": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 2,
            "uniqueItems": True,
        }
    },
    "required": ["tags"],
}


@pytest.mark.any_model
def test_exact_schema_has_no_notices(client: IRClient) -> None:
    check = client.check_schema(SMALL_SCHEMA)
    assert check.coverage is SchemaCoverage.EXACT
    assert check.schema_notices == ()
    assert check.draft == "2020-12"
    Draft202012Validator(SMALL_SCHEMA).validate(json.loads(check.minimal_instance))
    assert check.schema_shown is SchemaShown.FULL
    assert check.min_tokens > 1
    assert 0 < check.compile_elapsed.total_seconds() <= check.prepare_elapsed.total_seconds()
    assert check.max_mask_elapsed.total_seconds() < 0.1
    limits = {limit.name: limit for limit in check.limits}
    assert (limits["nodes"].value, limits["key_bytes"].value) == (4, 4)
    assert all(limit.value is None or limit.value <= limit.max for limit in check.limits)


@pytest.mark.any_model
def test_notices_list_what_decoding_does_not_enforce(
    client: IRClient,
) -> None:
    before = client.health().activity.last_step_time
    first = client.check_schema(TAGS, include_engine_schema=True)
    again = client.check_schema(schema_digest=first.schema_digest)
    assert (first.cached, again.cached) == (False, True)
    assert again.engine_schema == ""
    assert first.coverage is SchemaCoverage.CHECKED
    told = {(notice.pointer, notice.enforcement) for notice in first.schema_notices}
    assert ("/properties/tags/uniqueItems", Enforcement.CHECKED_AFTER_DECODING) in told
    assert ("/properties/tags/maxItems", Enforcement.NARROWED) in told
    decoded = json.loads(first.engine_schema)["properties"]["tags"]
    assert "uniqueItems" not in decoded
    assert decoded["maxItems"] >= 2
    Draft202012Validator(TAGS).validate(json.loads(first.minimal_instance))
    assert client.health().activity.last_step_time == before, "checking must not generate"
    with client.stream("Two tags.", schema_digest=first.schema_digest) as stream:
        accepted = next(stream)
    assert isinstance(accepted, Accepted)
    assert accepted.schema_notices == first.schema_notices
    assert accepted.schema_shown is first.schema_shown


@pytest.mark.any_model
def test_builtin_schema_is_exact(client: IRClient) -> None:
    check = client.check_schema()
    assert check.coverage is SchemaCoverage.EXACT
    assert check.cached
    Draft202012Validator(builtin_ir_schema()).validate(json.loads(check.minimal_instance))


@pytest.mark.any_model
@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "nil"}',
        '{"properties": {"a": {"$ref": "http://127.0.0.1:9/a.json"}}}',
        '{"properties": {"a": {"multipleOf": 9999991}}}',
    ],
)
def test_refusal_equals_that_of_generate(
    client: IRClient, stub: ir_service_pb2_grpc.IRServiceStub, schema: str
) -> None:
    generated = refused(stub, schema=schema)
    with pytest.raises(grpc.RpcError) as raised:
        stub.CheckSchema(ir_service_pb2.CheckSchemaRequest(json_schema=schema), timeout=60)
    checked = refusal_from(raised.value)
    assert (checked.code, checked.reason) == (generated.code, generated.reason)
    assert checked.metadata == generated.metadata
    assert checked.metadata["pointer"].startswith("/")
    assert [*generated.fields] == ["spec.json_schema"]
    assert [*checked.fields] == ["json_schema"]
    with pytest.raises(SchemaError, match=generated.reason):
        client.check_schema(schema)


@pytest.mark.any_model
def test_unknown_digest_and_empty_schema_are_refused(
    stub: ir_service_pb2_grpc.IRServiceStub,
) -> None:
    for request, reason in (
        (ir_service_pb2.CheckSchemaRequest(schema_digest="sha256:" + "1" * 64), "SCHEMA_NOT_FOUND"),
        (ir_service_pb2.CheckSchemaRequest(schema_digest="sha256:1"), "INVALID_FIELD"),
        (ir_service_pb2.CheckSchemaRequest(json_schema=" "), "INVALID_FIELD"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            stub.CheckSchema(request, timeout=60)
        assert refusal_from(raised.value).reason == reason


def test_check_with_grpcurl(server: ServerProcess) -> None:
    method = "genir.v1.IRService/CheckSchema"
    answer = json.loads(grpcurl(server, method, data={"json_schema": json.dumps(SMALL_SCHEMA)}))
    assert answer["coverage"] == "SCHEMA_COVERAGE_EXACT"
    Draft202012Validator(SMALL_SCHEMA).validate(json.loads(answer["minimal_instance"]))
    assert GRPCURL is not None
    data = json.dumps({"json_schema": '{"multipleOf": 9999991}'})
    done = subprocess.run(
        [GRPCURL, "-plaintext", "-d", data, server.target, method],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "SCHEMA_TOO_COMPLEX" in done.stderr
    assert '"limit":"multiple_of"' in done.stderr.replace(": ", ":")


def test_check_from_the_command_line(server: ServerProcess, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "genir.cli", *arguments, "--target", server.target],
            input=json.dumps(SMALL_SCHEMA),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    good = run("check-schema", "-")
    assert good.returncode == 0
    assert json.loads(good.stdout)["coverage"] == "exact"
    assert "decoding enforces all of it" in good.stderr
    bad = tmp_path / "bad.json"
    bad.write_text('{"properties": {"a": {"type": "nil"}}}')
    refusal = run("check-schema", str(bad))
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert "/properties/a/type" in refusal.stderr


def test_health_counts_schema_lookups_and_refusals(client: IRClient) -> None:
    before = client.health().schema_cache
    good = client.check_schema({**SMALL_SCHEMA, "title": "counted"})
    for _ in range(2):
        with pytest.raises(SchemaError):
            client.check_schema('{"title": "counted", "type": "nil"}')
    assert client.check_schema(schema_digest=good.schema_digest).cached
    after = client.health().schema_cache
    assert before is not None
    assert after is not None
    assert (after.misses, after.hits) == (before.misses + 2, before.hits + 2)
    assert after.entries == before.entries + 2
    assert before.size_bytes < after.size_bytes < after.max_bytes
    assert after.prepared == before.prepared + 1
    assert after.total_prepare_elapsed > before.total_prepare_elapsed
    assert after.refused["SCHEMA_INVALID"] == before.refused.get("SCHEMA_INVALID", 0) + 1


@pytest.mark.any_model
def test_too_many_schemas_are_refused(stub: ir_service_pb2_grpc.IRServiceStub) -> None:
    request = ir_service_pb2.WarmupRequest(json_schemas=[builtin_ir_schema_text()] * 65)
    with pytest.raises(grpc.RpcError) as raised:
        stub.Warmup(request, timeout=60)
    refusal = refusal_from(raised.value)
    assert (refusal.reason, [*refusal.fields]) == ("INVALID_FIELD", ["json_schemas"])
