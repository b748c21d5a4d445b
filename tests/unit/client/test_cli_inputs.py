"""What the command line reads: schemas from files, stdin and arguments, and byte order marks."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from genir.v1 import ir_service_pb2
from tests.support.cli import COMMAND, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.contract_server import ContractServer

pytestmark = pytest.mark.usefixtures("every_answer")

SCHEMA = '{"const":"ä"}'


def sent_schemas(server: ContractServer) -> list[str]:
    request = server.calls[-1].request
    match request:
        case ir_service_pb2.StreamIRRequest():
            return [request.spec.json_schema]
        case ir_service_pb2.CheckSchemaRequest():
            return [request.json_schema]
        case ir_service_pb2.WarmupRequest():
            return list(request.json_schemas)
    raise AssertionError(request)


COMMANDS = [("generate", "hello", "--schema"), ("check-schema",), ("warmup", "--schema")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_schema_from_stdin_an_argument_or_a_file(
    server: ContractServer, tmp_path: Path, command: tuple[str, ...]
) -> None:
    run(*command, "-", server=server, stdin=SCHEMA)
    assert sent_schemas(server) == [SCHEMA]
    run(*command, f" {SCHEMA}", server=server)
    assert sent_schemas(server) == [f" {SCHEMA}"]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file = tmp_path / "schema.json"
        file.write_text(SCHEMA, encoding=encoding)
        run(*command, str(file), server=server)
        assert sent_schemas(server) == [SCHEMA]
    assert len(server.calls) >= 5


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_unreadable_schema_is_told_in_one_line(
    server: ContractServer, tmp_path: Path, command: tuple[str, ...]
) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\x00\xfe")
    for given, excerpt in (
        ("missing.json", "No such file"),
        (str(tmp_path), "Is a directory"),
        (str(binary), "not UTF-8"),
        ("-", "the schema is empty"),
    ):
        result = run(*command, given, server=server)
        assert result.exit_code == 2
        assert excerpt in " ".join(result.stderr.replace("│", "").split())
    assert server.calls == []


def test_prompt_and_schema_cannot_both_come_from_stdin(server: ContractServer) -> None:
    for arguments in (["--schema", "-"], ["-", "--schema", "-"]):
        result = run("generate", *arguments, server=server, stdin="{}")
        assert result.exit_code == 2
        assert "cannot both come from stdin" in " ".join(result.stderr.replace("│", "").split())
    result = run("warmup", "--schema", "-", "--schema", "-", server=server, stdin="{}")
    assert result.exit_code == 2
    assert server.calls == []


def test_prompt_from_a_file_beside_a_schema_from_stdin(
    server: ContractServer, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("häh\n", encoding="utf-8-sig")
    run("generate", "--file", str(file), "--schema", "-", server=server, stdin=SCHEMA)
    request = server.calls[-1].request
    assert isinstance(request, ir_service_pb2.StreamIRRequest)
    assert (request.spec.prompt, request.spec.json_schema) == ("häh", SCHEMA)


def test_token_file_may_start_with_a_byte_order_mark(
    server: ContractServer, tmp_path: Path
) -> None:
    file = tmp_path / "ci.token"
    file.write_text("genir_abc\n", encoding="utf-8-sig")
    run("generate", "hello", "--token-file", str(file), server=server)
    assert server.calls[-1].metadata["authorization"] == "Bearer genir_abc"


@pytest.mark.parametrize("command", [["generate"], ["generate", "-"], ["check-schema", "-"]])
def test_closed_stdin_is_no_traceback(server: ContractServer, command: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", " ".join([*COMMAND, *command, "<&-"])],
        capture_output=True,
        env={**os.environ, "GENIR_TARGET": server.target},
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2


def test_schema_of_openai_is_unwrapped(server: ContractServer) -> None:
    wrapper = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": 1}}}
    run("generate", "hello", "--schema", json.dumps(wrapper), server=server)
    assert json.loads(sent_schemas(server)[0]) == {"const": 1}
