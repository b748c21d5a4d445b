"""SIGTERM and Ctrl-C: what runs finishes, what is new is refused, the exit is clean."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from bench.support.server_process import ServerProcess
from bench.support.tiny_server import TinyServer, text_schema
from genir import IRClient, RetryPolicy, UnavailableError
from genir.types import Completed, Phase, TextDelta

if TYPE_CHECKING:
    from pathlib import Path

SEVERAL_SECONDS = text_schema(1500, 1600)


@pytest.mark.parametrize("whole_group", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_a_stream_in_flight_finishes(tmp_path: Path, *, whole_group: bool) -> None:
    server = TinyServer(tmp_path, "--drain-timeout", "200")
    try:
        server.wait_ready()
        processes = server.descendants()
        with IRClient(server.target, retry=RetryPolicy(max_attempts=1)) as client:
            with client.stream("Write.", schema=SEVERAL_SECONDS, max_tokens=2000) as events:
                iterator = iter(events)
                while not isinstance(next(iterator), TextDelta):
                    pass
                if whole_group:
                    # What a terminal does: every process of the group gets the signal.
                    server.send_to_group(signal.SIGINT)
                else:
                    server.send(signal.SIGTERM)
                while client.health().phase is not Phase.DRAINING:
                    pass
                with pytest.raises(UnavailableError) as refused:
                    client.generate("Too late.")
                assert refused.value.reason == "DRAINING"
                assert refused.value.code is grpc.StatusCode.UNAVAILABLE
                last = list(iterator)[-1]
            assert isinstance(last, Completed)
            assert len(json.loads(last.result.ir_json)["text"]) >= 1500
        assert server.wait(60) == 0
        _, alive = psutil.wait_procs(processes, timeout=5)
        assert not alive, f"left behind: {alive}"
    finally:
        server.close()


def test_sigterm_while_the_model_loads(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    try:
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.close()
