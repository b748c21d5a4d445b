"""Runs the command line in this process or on a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from genir.cli.app import app
from genir.v1 import ir_service_pb2, status_pb2

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.support.contract_server import Call, ContractServer


COMMAND = [sys.executable, "-m", "genir.cli"]


def run(*arguments: str, server: ContractServer | None = None, stdin: str = "") -> Result:
    environment = {"GENIR_TARGET": server.target} if server else {}
    return CliRunner().invoke(app, arguments, input=stdin, env=environment)


def run_in_terminal(*arguments: str, term: str = "dumb") -> tuple[int, str]:
    """The exit code, and what stdout and stderr show on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "NO_COLOR": "1", "TERM": term},
    )
    os.close(follower)
    shown = b""
    try:
        while data := os.read(leader, 65536):
            shown += data
    except OSError:  # What Linux says when the last writer has closed.
        pass
    os.close(leader)
    return process.wait(30), shown.decode()


def set_health(server: ContractServer, *phases: status_pb2.Phase.ValueType) -> None:
    def script(number: status_pb2.Phase.ValueType) -> object:
        def answer(call: Call) -> ir_service_pb2.HealthResponse:
            assert isinstance(call.request, ir_service_pb2.HealthRequest)
            ready = number == status_pb2.PHASE_READY
            response = ir_service_pb2.HealthResponse(
                phase=number,
                ready=ready,
                message="busy [/with] it",
                model="tiny",
                versions=status_pb2.Versions(genir="0.9.1", vllm="0.32.0"),
                ir_json="{}" if call.request.deep else "",
            )
            response.uptime.FromMilliseconds(1500)
            return response

        return answer

    server.service.healths = deque(script(number) for number in phases)  # type: ignore[misc]
