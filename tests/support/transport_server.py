"""The gRPC transport in this process, with an engine that a test scripts.

A test reaches its interceptor and self-test. `in_process_server` takes all settings instead.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from genir_server.admission import Admission, AdmissionLimits
from genir_server.core.self_test import SelfTest
from genir_server.domain.limits import RequestLimits
from genir_server.settings import ServerSettings
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.server import StandardHealth, bind, build_server, start
from genir_server.transport.servicer import IRServicer
from tests.support.scripted_engine import Schemas, ScriptedEngine, generator_with, prepared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from genir_server.observability.call_record import CallObserver


GOOD = '{"a":1}'


REQUEST = ir_service_pb2.GenerateIRRequest(
    spec=generation_pb2.GenerationSpec(prompt="hi", request_id="mine")
)


class Served:
    """One server in this process and a stub for it."""

    def __init__(self, stub: Any, self_test: SelfTest, calls: CallInterceptor) -> None:
        self.stub = stub
        self.self_test = self_test
        self.calls = calls


@asynccontextmanager
async def serving(
    engine: ScriptedEngine,
    *schemas: str,
    places: int = 8,
    default_deadline: float = 60.0,
    slow_reader_timeout: float = 60.0,
    client_options: Sequence[tuple[str, int]] = (),
    observers: Sequence[CallObserver] = (),
    tokens_per_delta: int = 1,
    concurrent_accept: bool = True,
) -> AsyncIterator[Served]:
    schema = prepared()
    generator = generator_with(engine, Schemas(schema, *map(prepared, schemas)), schema)
    self_test = SelfTest(generator)
    lifecycle = Lifecycle()
    lifecycle.attach(generator, self_test)
    lifecycle.enter(Phase.READY, "ready")
    servicer = IRServicer(
        lifecycle,
        Admission(AdmissionLimits(max_calls=places)),
        model="scripted",
        configured_backend="guidance",
        limits=RequestLimits(),
        tokens_per_delta=tokens_per_delta,
    )
    calls = CallInterceptor(
        default_deadline, slow_reader_timeout=slow_reader_timeout, observers=observers
    )
    health = StandardHealth(lifecycle)
    settings = ServerSettings.model_validate({})
    server = build_server(settings, servicer, health, calls)
    await health.start()
    port = bind(server, "127.0.0.1", 0)
    await start(server, servicer, calls, concurrent_accept=concurrent_accept)
    try:
        target = f"127.0.0.1:{port}"
        async with grpc.aio.insecure_channel(target, options=client_options) as channel:
            yield Served(ir_service_pb2_grpc.IRServiceStub(channel), self_test, calls)
    finally:
        await health.stop()
        await server.stop(0)


async def failure(end: Any, call: Any = None) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and message of a call that must fail, with the request id checked.

    `end` is what fails when it is awaited, where that is not the call itself.
    """
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await end
    call = call or end
    error = raised.value
    status = await rpc_status.aio.from_call(call)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert error.trailing_metadata()["genir-request-id"]
    return error.code(), info.reason, error.details() or ""
