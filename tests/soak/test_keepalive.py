"""A call that is silent for ten minutes, on a connection with keepalive pings."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bench.support.tiny_server import ENDLESS, NO_RETRIES, SHORT, TinyServer
from genir import IRClient
from genir.v1 import ir_service_pb2, ir_service_pb2_grpc
from tests.support.calls import spec

if TYPE_CHECKING:
    from pathlib import Path

SILENT_SECONDS = 600.0
OVERTAKERS = 3
KEEPALIVE = (
    # What gRPC's documentation gives as an example for clients.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@pytest.mark.timeout(1800)
def test_call_that_is_silent_for_ten_minutes_is_answered(tmp_path: Path) -> None:
    server = TinyServer(tmp_path, "--max-running-calls", "1")
    silent_until = threading.Event()

    def overtake(client: IRClient) -> None:
        while not silent_until.is_set():
            client.generate(
                "Write on and on.",
                schema=ENDLESS,
                max_tokens=3000,
                schema_in_prompt="never",
                priority=-1,
            )

    try:
        server.wait_ready()
        with (
            IRClient(server.target, retry=NO_RETRIES, timeout=600) as client,
            grpc.insecure_channel(server.target, KEEPALIVE) as channel,
        ):
            others = [threading.Thread(target=overtake, args=(client,)) for _ in range(OVERTAKERS)]
            for thread in others:
                thread.start()
            while client.health().activity.waiting < OVERTAKERS - 1:
                time.sleep(0.1)
            stub: Any = ir_service_pb2_grpc.IRServiceStub(channel)
            request = ir_service_pb2.GenerateIRRequest(spec=spec("Write.", schema=SHORT))
            call = stub.GenerateIR.future(request, timeout=2 * SILENT_SECONDS)
            try:
                with pytest.raises(grpc.FutureTimeoutError):
                    call.result(timeout=SILENT_SECONDS)
            finally:
                silent_until.set()
            assert isinstance(json.loads(call.result(timeout=120).ir_json)["ok"], bool)
            for thread in others:
                thread.join()
    finally:
        server.close()
