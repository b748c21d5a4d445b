"""docs/client.md: its examples run against a scripted server, and its tables are complete.

tests/e2e/test_docs_client.py runs the examples against a real server.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from genir import GenerationOptions, GenirError, IRResult, IRStream, cli, errors
from genir._status import _BY_REASON
from genir.cli.exit_codes import MEANINGS
from genir.v1 import ir_service_pb2
from tests.support.contract_server import (
    Call,
    ContractServer,
    Refusal,
    accepted,
    delta,
    digest_of_schema,
    play,
    refused,
    started,
    success,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[3]
GUIDE = (PROJECT / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def answer(call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
    """Answers with a verdict, or refuses a small budget as the real server does."""
    assert isinstance(call.request, ir_service_pb2.StreamIRRequest)
    match call.request.spec.max_tokens:
        case 1:
            too_small = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "BUDGET_TOO_SMALL")
            return refused(too_small)(call)
        case 20:
            truncated = Refusal(grpc.StatusCode.OUT_OF_RANGE, "TRUNCATED")
            return play(accepted(), started(), delta('{"text": "que'), refusal=truncated)(call)
    return success('{"label":"idea","reason":"because"}')(call)


def checked(call: Call) -> ir_service_pb2.CheckSchemaResponse:
    assert isinstance(call.request, ir_service_pb2.CheckSchemaRequest)
    return ir_service_pb2.CheckSchemaResponse(
        schema_digest=digest_of_schema(call.request), minimal_instance='"because"'
    )


def ready(call: Call) -> ir_service_pb2.HealthResponse:
    return ir_service_pb2.HealthResponse(ready=call.context.is_active())


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(server: ContractServer, number: int) -> None:
    server.script(answer)
    server.service.healths.append(ready)
    server.service.checks.append(checked)
    program = EXAMPLES[number].replace("127.0.0.1:50051", server.target)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    if "127.0.0.1" in EXAMPLES[number]:
        assert "que" in done.stdout.decode() or "because" in done.stdout.decode()


def test_guide_has_examples() -> None:
    assert len(EXAMPLES) == 7


def test_guide_and_docstring_list_every_exit_code() -> None:
    for code, meaning in MEANINGS.items():
        assert f"{int(code):4}  {meaning}" in (cli.__doc__ or "").replace("``", "`")
        assert re.search(rf"^\| {int(code)} \| {re.escape(meaning)}", GUIDE, re.MULTILINE)


def names_in_tables() -> set[str]:
    """The names in code style in the first column of the guide's tables."""
    first_cells = re.findall(r"^\| ([^|]*) \|", GUIDE, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`(\w+)(?:\(\))?`", cell)}


def test_tables_list_every_option_field_and_attribute() -> None:
    options = set(GenerationOptions.__annotations__)
    result = {field.name for field in fields(IRResult)}
    stream = {name for name, _ in inspect.getmembers(IRStream) if not name.startswith("_")}
    error = {name for name, value in vars(GenirError).items() if isinstance(value, property)}
    # `failure` holds the four attributes that are listed, and details of the text.
    assert options | result | stream | error - {"failure"} <= names_in_tables()


def test_table_of_exceptions_lists_every_exception_and_reason() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, GenirError)
    }
    assert classes - {"GenirError", "GenerationFailedError"} <= names_in_tables()
    assert all(f"`{reason}`" in GUIDE for reason in _BY_REASON)


def test_guide_lists_every_dependency() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=]", each)[0] for each in project["dependencies"]]
    introduction = GUIDE.partition("## ")[0]
    assert all(f"`{name}`" in introduction for name in names)
