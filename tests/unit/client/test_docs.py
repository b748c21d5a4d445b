"""The examples of docs/client.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from genir import cli
from genir.cli.exit_codes import MEANINGS
from genir.v1 import ir_service_pb2
from tests.support.contract_server import (
    Call,
    ContractServer,
    Refusal,
    accepted,
    delta,
    play,
    started,
    success,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def answer(call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
    """What the examples expect of a server: a verdict, or too little room."""
    assert isinstance(call.request, ir_service_pb2.StreamIRRequest)
    if call.request.spec.max_tokens == 20:
        cut = Refusal(grpc.StatusCode.OUT_OF_RANGE, "TRUNCATED")
        return play(accepted(), started(), delta('{"label": "que'), refusal=cut)(call)
    return success('{"label":"idea","reason":"because"}')(call)


def checked(call: Call) -> ir_service_pb2.CheckSchemaResponse:
    assert call.context.is_active()
    return ir_service_pb2.CheckSchemaResponse(minimal_instance='"because"')


def ready(call: Call) -> ir_service_pb2.HealthResponse:
    return ir_service_pb2.HealthResponse(ready=call.context.is_active())


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(server: ContractServer, number: int) -> None:
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


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 7


def test_guide_and_docstring_tell_every_exit_code() -> None:
    for code, meaning in MEANINGS.items():
        assert f"{int(code):4}  {meaning}" in (cli.__doc__ or "").replace("``", "`")
        assert re.search(rf"^\| {int(code)} \| {re.escape(meaning)}", GUIDE, re.MULTILINE)
