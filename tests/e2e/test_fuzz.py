"""Random and damaged input gets documented answers only, and the server stays up.

`make fuzz` sends thousands, `make test` some. A seed repeats a failure of the damaged messages.
"""

from __future__ import annotations

import asyncio
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
from genir_server.domain.errors import Reason
from genir_server.transport.status import CODES
from tests.support.calls import wait_until_idle
from tests.support.credentials import CREDENTIALS
from tests.support.fuzzing import SMALL_SCHEMA, Damage, calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.support.server_process import ServerProcess

INPUTS = int(os.environ.get("GENIR_FUZZ_INPUTS", "400"))
SEED = int(os.environ.get("GENIR_FUZZ_SEED") or secrets.randbelow(2**32))
BATCH = 20
DEADLINE_SECONDS = 60.0
"""Far more than any of these calls needs, so that one that reaches it has hung."""

# A deadline is never an answer here, documented though its code is: no call has a shorter one.
NEVER = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# What gRPC itself answers, without details: an unknown method.
BARE = {grpc.StatusCode.UNIMPLEMENTED}
# What the standard health service answers for a name that it does not know, without details.
HEALTH = {grpc.StatusCode.NOT_FOUND}

seen: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def alive_and_idle_afterwards(private_server: ServerProcess) -> Iterator[None]:
    server = psutil.Process(private_server.process.pid)
    before = server.memory_info().rss
    yield
    for line, count in sorted(seen.items()):
        print(f"{count:6} {line}")  # noqa: T201 - shown by `make fuzz`.
    after = server.memory_info().rss
    print(f"memory of the server: {before >> 20} MiB before, {after >> 20} MiB after")  # noqa: T201
    with IRClient(private_server.target, metadata=dict(CREDENTIALS)) as client:
        wait_until_idle(client, 60)
        assert json.loads(client.generate("hi", schema=SMALL_SCHEMA).ir_json)


async def check_call(channel: grpc.aio.Channel, path: str, data: bytes) -> None:
    """Makes a call and fails unless the contract allows its end."""
    method = path.rpartition("/")[2]
    options: Any = {"timeout": DEADLINE_SECONDS, "metadata": CREDENTIALS}
    call: Any
    if method == "ServerReflectionInfo":
        call = channel.stream_stream(path)(iter([data]), **options)  # type: ignore[arg-type]
    elif method in {"StreamIR", "Watch"}:
        call = channel.unary_stream(path)(data, **options)  # type: ignore[arg-type]
    else:
        call = channel.unary_unary(path)(data, **options)  # type: ignore[arg-type]
    try:
        if method in {"ServerReflectionInfo", "StreamIR", "Watch"}:
            while await call.read() is not grpc.aio.EOF:
                if method == "Watch":
                    call.cancel()
                    break
        else:
            await call
    except grpc.aio.AioRpcError as error:
        check_status(path, error)
        return
    seen[f"{method} OK"] += 1


async def send(target: str, inputs: Sequence[tuple[str, bytes]]) -> None:
    """Makes all the calls at once."""
    async with grpc.aio.insecure_channel(target) as channel:
        await asyncio.gather(*(check_call(channel, path, data) for path, data in inputs))


def check_status(path: str, error: Any) -> None:
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
@given(batch=st.lists(calls, min_size=BATCH, max_size=BATCH))
def test_arbitrary_fields(private_server: ServerProcess, batch: list[tuple[str, bytes]]) -> None:
    asyncio.run(send(private_server.target, batch))


def test_damaged_messages(private_server: ServerProcess) -> None:
    print(f"GENIR_FUZZ_SEED={SEED}")  # noqa: T201 - what repeats a failure.
    damage = Damage(SEED)
    for _ in range(max(1, INPUTS // 2 // BATCH)):
        asyncio.run(send(private_server.target, [damage.inputs() for _ in range(BATCH)]))
