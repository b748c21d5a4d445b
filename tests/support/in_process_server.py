"""The transport in this process, with all settings and a scripted engine."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from genir_server.admission import Admission
from genir_server.auth.access_control import AccessControl, AccessFiles
from genir_server.core.schema_check import SchemaChecker
from genir_server.core.self_test import CANARY_SCHEMA, SelfTest
from genir_server.domain.limits import RequestLimits
from genir_server.observability.call_log import CallLog
from genir_server.settings import ServerSettings
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.server import (
    StandardHealth,
    bind,
    build_health_server,
    build_server,
    start,
)
from genir_server.transport.servicer import IRServicer
from tests.support.scripted_engine import Schemas, ScriptedEngine, generator_with, prepared

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from genir_server.domain.types import TextDelta
    from genir_server.engine.protocol import EngineRequest

GOOD = '{"a":1}'
SPEC = generation_pb2.GenerationSpec(prompt="hi", request_id="mine")
REQUEST = ir_service_pb2.GenerateIRRequest(spec=SPEC)
STREAM_REQUEST = ir_service_pb2.StreamIRRequest(spec=SPEC)


class HeldEngine(ScriptedEngine):
    """Holds its first request until `release` is set. Serves others at once."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.release = asyncio.Event()
        self._first = True

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        first, self._first = self._first, False
        if first:
            await self.release.wait()
        async for delta in super().generate(request):
            yield delta


class Served:
    """A running server: its addresses, access control and schemas."""

    def __init__(
        self, port: int, health_port: int, access: AccessControl, schemas: Schemas
    ) -> None:
        self.target = f"127.0.0.1:{port}"
        self.health_target = f"127.0.0.1:{health_port}"
        self.access = access
        self.schemas = schemas

    def stub(self, channel: grpc.aio.Channel) -> Any:
        return ir_service_pb2_grpc.IRServiceStub(channel)


@asynccontextmanager
async def serving(engine: ScriptedEngine | None = None, **settings: Any) -> AsyncIterator[Served]:
    """Serves with these settings. Certificate and callers files are reloaded only on `check`."""
    schema = prepared()
    engine = engine or ScriptedEngine(*[GOOD] * 100_000)
    schemas = Schemas(schema, prepared(CANARY_SCHEMA))
    generator = generator_with(engine, schemas, schema)
    lifecycle = Lifecycle()
    lifecycle.schema_checker = SchemaChecker(schemas, schema, engine)
    lifecycle.attach(generator, SelfTest(generator))
    lifecycle.enter(Phase.READY, "ready")
    configuration = ServerSettings.model_validate(settings)
    access = AccessControl(
        AccessFiles(
            tls_cert=configuration.tls_cert,
            tls_key=configuration.tls_key,
            tls_client_ca=configuration.tls_client_ca,
            callers=configuration.auth_file,
        )
    )
    calls = CallInterceptor(
        configuration.default_deadline,
        access.authentication,
        message_timeout=configuration.message_timeout,
        observers=(CallLog(),),
        log_content=configuration.log_content,
    )
    servicer = IRServicer(
        lifecycle,
        Admission(configuration.admission_limits()),
        model="scripted",
        configured_backend="guidance",
        limits=RequestLimits(),
    )
    health = StandardHealth(lifecycle)
    server = build_server(configuration, servicer, health, calls)
    probed = build_health_server(configuration, health)
    await health.start()
    port = bind(server, "127.0.0.1", 0, access.credentials)
    health_port = bind(probed, "127.0.0.1", 0)
    await start(server, servicer, calls)
    await probed.start()
    try:
        yield Served(port, health_port, access, schemas)
    finally:
        await health.stop()
        await server.stop(0)
        await probed.stop(0)


def digest(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and message of a call that must fail. A status without details has no reason."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        status = await rpc_status.aio.from_call(call)
        info = error_details_pb2.ErrorInfo()
        if status is not None:
            status.details[0].Unpack(info)
        return error.code(), info.reason, error.details() or ""
    raise AssertionError("expected a refusal")
