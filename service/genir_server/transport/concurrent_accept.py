"""Takes in many calls at once, where grpc.aio takes in one of each method.

grpc.aio asks grpc-core for the next call of a method when it has taken in the one before, and there
are four turns of the event loop between the two. A turn is as long as the messages of all streams
that were ready when it began: with hundreds of busy streams new calls wait for seconds in
grpc-core, out of sight of admission, while those that were there first are served at full speed.

This uses private parts of grpcio (`_cython/_cygrpc/aio/server.pyx.pxi`), so it is used only if the
installed version has them as `genir_server.patch_table` lists them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from genir.v1 import ir_service_pb2_grpc as service_grpc
from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METHODS = ("/genir.v1.IRService/GenerateIR", "/genir.v1.IRService/StreamIR")
"""Those of which many come at once."""

ACCEPTED_AT_ONCE = 16
"""Calls of one method that one turn of the event loop takes in."""

PAUSE_SECONDS = 0.05
"""From one call to the next of those sixteen, so that a flood of calls, which only gets refusals,
cannot take the event loop from the streams: 320 of a method in a second, and those that grpc.aio
takes in itself."""

log = structlog.get_logger("genir.transport")

_kept: set[asyncio.Task[None]] = set()


def accept_concurrently(
    server: grpc.aio.Server,
    servicer: service_grpc.IRServiceServicer,
    interceptors: Sequence[grpc.aio.ServerInterceptor],
) -> None:
    """Begins to take in calls of IRService beside the server's own loop.

    Ends by itself when the server is stopped.

    Args:
        server: has been started, with this servicer.
        servicer: what answers the calls.
        interceptors: those of the server that these calls have to pass. Its
            `maximum_concurrent_rpcs` they do not; admission is what bounds calls here.
    """
    if not applies("concurrent accept"):
        log.warning(
            "new calls are accepted one at a time, which is slow beside hundreds of streams",
            grpcio=grpc.__version__,
            reason=outcomes()["concurrent accept"],
        )
        return
    handlers = _Handlers()
    service_grpc.add_IRServiceServicer_to_server(servicer, handlers)  # type: ignore[arg-type]
    core: Any = server._server  # type: ignore[attr-defined]  # noqa: SLF001
    for method in METHODS:
        for _ in range(ACCEPTED_AT_ONCE):
            _keep(_accept(core, method, handlers, tuple(interceptors))).add_done_callback(_ended)


class _Handlers:
    """Is a server to the generated code that adds a service to one, a table of methods to grpc."""

    def __init__(self) -> None:
        self.of_methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """What the server itself needs them for is unknown methods."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        for name, handler in handlers.items():
            self.of_methods[f"/{service}/{name}"] = handler

    def resolve_handler(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self.of_methods.get(details.method)


async def _accept(
    core: Any,  # noqa: ANN401 - cygrpc has no types.
    method: str,
    handlers: _Handlers,
    interceptors: tuple[grpc.aio.ServerInterceptor, ...],
) -> None:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    # A server that has stopped must not be asked: there is nothing left behind it.
    while core.is_running():
        try:
            state = await core._request_registered_call(method.encode())  # noqa: SLF001
        except cygrpc._RequestCallError:  # noqa: SLF001 - what every request for a call ends with.
            continue
        handling = cygrpc._handle_rpc(method, handlers, interceptors, state, loop, False)  # noqa: SLF001
        _keep(cygrpc._schedule_rpc_coro(handling, state, loop, method))  # noqa: SLF001
        await asyncio.sleep(PAUSE_SECONDS)


def _keep(work: Any) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine of ours or of Cython's.
    # An event loop itself does not hold a task.
    task = asyncio.get_running_loop().create_task(work)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


def _ended(acceptor: asyncio.Task[None]) -> None:
    if not acceptor.cancelled() and (fault := acceptor.exception()) is not None:
        log.error("new calls are taken in more slowly from now on", exc_info=fault)
