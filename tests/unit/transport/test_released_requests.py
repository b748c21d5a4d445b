"""What is left of a request when its call has ended, before any garbage collection."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.domain.types import GenerationRequest
from genir_server.engine.protocol import EngineDeadError
from tests.support.in_process_server import GOOD, HeldEngine, serving
from tests.support.scripted_engine import ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 5


@pytest.fixture(autouse=True)
def before() -> Iterator[int]:
    """The number of requests in memory, without garbage collection from then on."""
    gc.collect()
    gc.disable()
    yield requests_in_memory()
    gc.enable()


def requests_in_memory() -> int:
    # Not isinstance: it asks an object for its class, and some fail to tell.
    return sum(type(each) is GenerationRequest for each in gc.get_objects())


def spec(prompt: str = "hi") -> generation_pb2.GenerationSpec:
    return generation_pb2.GenerationSpec(prompt=prompt)


async def ends(call: Any) -> None:
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("hi", GOOD),
        ("x" * (2 << 20), GOOD),
        ("hi", '{"b":1}'),
        ("hi", '{"a"'),
        ("hi", RuntimeError("a fault")),
        ("hi", EngineDeadError("it died")),
    ],
    ids=["result", "long prompt", "not valid", "not complete", "fault", "dead engine"],
)
async def test_nothing_of_an_ended_call_is_left(
    prompt: str, text: str | Exception, before: int, *, stream: bool
) -> None:
    async with serving(ScriptedEngine(*[text] * 100)) as served:
        async with grpc.aio.insecure_channel(served.target) as channel:
            for _ in range(CALLS):
                if stream:
                    await ends(
                        served.stub(channel).StreamIR(
                            ir_service_pb2.StreamIRRequest(spec=spec(prompt))
                        )
                    )
                else:
                    await ends(
                        served.stub(channel).GenerateIR(
                            ir_service_pb2.GenerateIRRequest(spec=spec(prompt))
                        )
                    )
        await asyncio.sleep(0.1)
        assert requests_in_memory() == before


@pytest.mark.parametrize("kind", ["cancelled", "expired", "expired at the server"])
async def test_nothing_of_an_abandoned_call_is_left(kind: str, before: int) -> None:
    engine = HeldEngine(*[GOOD] * 100)
    async with serving(engine, default_deadline=0.5) as served:
        async with grpc.aio.insecure_channel(served.target) as channel:
            call = served.stub(channel).GenerateIR(
                ir_service_pb2.GenerateIRRequest(spec=spec()),
                timeout={"cancelled": 60, "expired": 0.5}.get(kind),
            )
            await asyncio.sleep(0.2)
            if kind == "cancelled":
                call.cancel()
            await ends(call)
        await asyncio.sleep(0.2)
        assert requests_in_memory() == before
