"""Thousands of senseless inputs: only documented answers, and the server goes on.

`make fuzz` sends many; `make test` some. A failure of the seeded part is repeated with its seed.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from genir import IRClient
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from genir_server.core.errors import Reason
from genir_server.transport.status import CODES
from tests.e2e.calling import wait_until_idle
from tests.security.conftest import CREDENTIALS
from tests.security.fuzzing import SMALL_SCHEMA, Damage, specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.server_process import ServerProcess

INPUTS = int(os.environ.get("GENIR_FUZZ_INPUTS", "400"))
SEED = int(os.environ.get("GENIR_FUZZ_SEED") or secrets.randbelow(2**32))
BATCH = 20
DEADLINE_SECONDS = 60.0

NEVER = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
# What gRPC itself answers, without details: an unknown method, its own deadline.
BARE = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DEADLINE_EXCEEDED}
# What the standard health service answers for a name that it does not know, without details.
HEALTH = {grpc.StatusCode.NOT_FOUND}

seen: Counter[str] = Counter()


@pytest.fixture(scope="module")
def channel(hostile_server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(hostile_server.target) as channel:
        yield channel


@pytest.fixture(scope="module", autouse=True)
def alive_and_idle_afterwards(hostile_server: ServerProcess) -> Iterator[None]:
    server = psutil.Process(hostile_server.process.pid)
    before = server.memory_info().rss
    yield
    for line, count in sorted(seen.items()):
        print(f"{count:6} {line}")  # noqa: T201 - shown by `make fuzz`.
    after = server.memory_info().rss
    print(f"memory of the server: {before >> 20} MiB before, {after >> 20} MiB after")  # noqa: T201
    with IRClient(hostile_server.target, metadata=dict(CREDENTIALS)) as client:
        wait_until_idle(client)
        assert json.loads(client.generate("hi", schema=SMALL_SCHEMA).ir_json)


def judge(path: str, call: Any) -> None:
    """Waits for the end of a call and fails unless the contract allows it."""
    method = path.rpartition("/")[2]
    try:
        if hasattr(call, "result") and not hasattr(call, "__next__"):
            call.result()
        else:
            for _ in call:
                if method == "Watch":
                    call.cancel()
                    break
    except grpc.RpcError as error:
        judge_status(path, error)
        return
    seen[f"{method} OK"] += 1


def judge_status(path: str, error: Any) -> None:
    code = error.code()
    status = rpc_status.from_call(error)
    method = path.rpartition("/")[2]
    if status is None:
        seen[f"{method} {code.name}, bare"] += 1
        allowed = BARE | HEALTH if path.startswith("/grpc.health") else BARE
        assert code in allowed, f"{path}: {error}"
        return
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    seen[f"{method} {code.name} {info.reason}"] += 1
    assert code not in NEVER, f"{path}: {error}"
    assert CODES[Reason(info.reason)] is code
    assert error.details()
    assert "Traceback" not in error.details()


@settings(
    max_examples=max(1, INPUTS // 2 // BATCH),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    # A batch tells which of its inputs failed; making it smaller would repeat the rest for hours.
    phases=(Phase.generate,),
)
@given(batch=st.lists(specs, min_size=BATCH, max_size=BATCH))
def test_arbitrary_fields(
    channel: grpc.Channel, batch: list[generation_pb2.GenerationSpec]
) -> None:
    stub = ir_service_pb2_grpc.IRServiceStub(channel)
    calls: list[tuple[str, Any]] = []
    options: Any = {"timeout": DEADLINE_SECONDS, "metadata": CREDENTIALS}
    for number, spec in enumerate(batch):
        if number % 2:
            stream = ir_service_pb2.StreamIRRequest(spec=spec)
            calls.append(("/StreamIR", stub.StreamIR(stream, **options)))
        else:
            unary = ir_service_pb2.GenerateIRRequest(spec=spec)
            calls.append(("/GenerateIR", stub.GenerateIR.future(unary, **options)))
    for path, call in calls:
        judge(path, call)


def test_damaged_messages(channel: grpc.Channel) -> None:
    print(f"GENIR_FUZZ_SEED={SEED}")  # noqa: T201 - what repeats a failure.
    damage = Damage(SEED)
    sent = 0
    while sent < INPUTS // 2:
        calls: list[tuple[str, Any]] = []
        for _ in range(BATCH):
            path, data = damage.inputs()
            calls.append((path, _started(channel, path, data)))
        sent += BATCH
        for path, call in calls:
            judge(path, call)


def _started(channel: grpc.Channel, path: str, data: bytes) -> Any:
    options: Any = {"timeout": DEADLINE_SECONDS, "metadata": CREDENTIALS}
    method: Any
    if path.endswith(("/StreamIR", "/Watch")):
        method = channel.unary_stream(path)
        return method(data, **options)
    if path.endswith("/ServerReflectionInfo"):
        method = channel.stream_stream(path)
        return method(iter([data]), **options)
    method = channel.unary_unary(path)
    return method.future(data, **options)
