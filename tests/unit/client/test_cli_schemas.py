"""`genir check-schema`, and the schemas of `genir warmup`."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

import grpc
import pytest

from genir.v1 import ir_service_pb2, schema_pb2, status_pb2
from tests.support.cli import run, run_in_terminal, set_health
from tests.support.contract_server import DIGEST, Call, ContractServer, Refusal, checked, digest_of

if TYPE_CHECKING:
    from pathlib import Path


def last_check(server: ContractServer) -> ir_service_pb2.CheckSchemaRequest:
    request = server.calls[-1].request
    assert isinstance(request, ir_service_pb2.CheckSchemaRequest)
    return request


@pytest.fixture
def checking(server: ContractServer) -> ContractServer:
    server.service.checks = deque([checked])
    return server


def test_stdout_gets_json_and_stderr_the_report(checking: ContractServer) -> None:
    schema = '{"uniqueItems": true}\n'
    done = run("check-schema", "-", server=checking, stdin=schema)
    assert done.exit_code == 0
    assert last_check(checking).json_schema == schema
    report = json.loads(done.stdout)
    assert report["coverage"] == "checked"
    assert report["compile_elapsed"] == 0.004
    assert report["schema_notices"][0]["pointer"] == "/uniqueItems"
    assert report["limits"][0] == {"name": "nodes", "max": 50_000, "value": 40_000}
    for said in (
        f"{digest_of(schema)}, draft 2020-12",
        "checked after decoding: uniqueItems at /uniqueItems: the engine cannot compare items",
        "4.0 ms of it to compile",
        "slowest mask 0.2 ms; cached before",
        "nodes is 40000 of 50000",
        "shown: full",
        "2 or more",
        "smallest  []",
    ):
        assert said in done.stderr


def test_quiet_leaves_only_the_json(checking: ContractServer) -> None:
    done = run("check-schema", "-q", "--engine-schema", server=checking)
    assert done.stderr == ""
    assert json.loads(done.stdout)["engine_schema"] == "{}"
    assert last_check(checking).WhichOneof("schema") is None


def test_terminal_gets_the_report_or_json_with_the_option(
    checking: ContractServer, tmp_path: Path
) -> None:
    file = tmp_path / "s.json"
    file.write_text("{}")
    arguments = ["check-schema", str(file), "--target", checking.target]
    code, shown = run_in_terminal(*arguments)
    assert code == 0
    assert "coverage  checked" in shown
    assert '"coverage"' not in shown
    code, shown = run_in_terminal(*arguments, "--json", "--quiet")
    assert code == 0
    assert '"coverage": "checked"' in shown


def test_digest_can_be_checked(checking: ContractServer) -> None:
    assert run("check-schema", "--schema-digest", DIGEST, server=checking).exit_code == 0
    assert last_check(checking).schema_digest == DIGEST


def test_unusable_schema_is_explained_and_exits_with_2(server: ContractServer) -> None:
    def refuse(call: Call) -> ir_service_pb2.CheckSchemaResponse:
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "SCHEMA_UNSUPPORTED",
            message="nothing is fetched",
            fields=[("json_schema", "nothing is fetched (at /$ref)")],
        ).abort(call)

    server.service.checks = deque([refuse])
    done = run("check-schema", "-", server=server, stdin='{"$ref": "other.json"}')
    assert (done.exit_code, done.stdout) == (2, "")
    assert "SCHEMA_UNSUPPORTED: nothing is fetched" in done.stderr
    assert "json_schema: nothing is fetched (at /$ref)" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["missing.json"], ["-", "--schema-digest", "sha256:ab"], ["not-utf8"]]
)
def test_wrong_usage_exits_with_2(
    checking: ContractServer,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-utf8").write_bytes(b"\xff{}")
    done = run("check-schema", *arguments, server=checking, stdin="{}")
    assert done.exit_code == 2
    assert checking.calls == []


def test_warmup_reports_each_schema_and_exits_with_2_for_an_unusable_one(
    server: ContractServer, tmp_path: Path
) -> None:
    def warm(call: Call) -> ir_service_pb2.WarmupResponse:
        assert isinstance(call.request, ir_service_pb2.WarmupRequest)
        refusal = schema_pb2.SchemaRefusal(
            reason=status_pb2.ERROR_REASON_SCHEMA_INVALID, message="no such type"
        )
        outcomes = {
            "{}": schema_pb2.WarmedSchema(schema_digest=DIGEST),
            "[]": schema_pb2.WarmedSchema(refusal=refusal),
        }
        schemas = [outcomes[text] for text in call.request.json_schemas]
        return ir_service_pb2.WarmupResponse(ir_json="{}", schema_digest=DIGEST, schemas=schemas)

    set_health(server, status_pb2.PHASE_READY)
    server.service.warmups = deque([warm])
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text("{}")
    bad.write_text("[]")
    done = run("warmup", "--schema", str(good), server=server)
    assert (done.exit_code, done.stdout) == (0, "{}\n")
    assert f"good.json is prepared, digest {DIGEST}" in done.stderr
    done = run("warmup", "-q", "--schema", str(good), "--schema", str(bad), server=server)
    assert (done.exit_code, done.stdout) == (2, "{}\n")
    assert "good.json" not in done.stderr
    assert "bad.json: SCHEMA_INVALID: no such type" in done.stderr
