"""Accepts several calls of a method at once, where grpc.aio accepts one.

grpc.aio requests the next call of a method from grpc-core when it has accepted the previous one,
four iterations of the event loop later. An iteration takes as long as the messages of all ready
streams. Beside hundreds of busy streams, new calls wait in grpc-core for seconds, invisible to
admission.

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
"""Methods with many simultaneous calls."""

ACCEPTED_AT_ONCE = 16
"""Calls of one method that one iteration of the event loop accepts."""

PAUSE_SECONDS = 0.05
"""Pause of each of the 16 acceptors after a call.

It limits them to 320 calls of a method per second, besides those that grpc.aio accepts itself. So a
flood of calls that are refused cannot occupy the event loop.
"""

log = structlog.get_logger("genir.transport")

_kept: set[asyncio.Task[None]] = set()


def accept_concurrently(
    server: grpc.aio.Server,
    servicer: service_grpc.IRServiceServicer,
    interceptors: Sequence[grpc.aio.ServerInterceptor],
) -> None:
    """Starts to accept calls of IRService beside the server's own loop.

    It ends when the server stops.

    Args:
        server: a started server with this servicer.
        servicer: handles the calls.
        interceptors: the server's interceptors that apply to these calls. Its
            `maximum_concurrent_rpcs` does not apply; admission limits calls here.
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
    """A table of method handlers that the generated code can register a service with."""

    def __init__(self) -> None:
        self.of_methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Does nothing: the server itself handles unknown methods."""

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
    # A stopped server must not be asked for calls: its core is gone.
    while core.is_running():
        try:
            state = await core._request_registered_call(method.encode())  # noqa: SLF001
        except cygrpc._RequestCallError:  # noqa: SLF001 - raised when the server stops.
            continue
        handling = cygrpc._handle_rpc(method, handlers, interceptors, state, loop, False)  # noqa: SLF001
        _keep(cygrpc._schedule_rpc_coro(handling, state, loop, method))  # noqa: SLF001
        await asyncio.sleep(PAUSE_SECONDS)


def _keep(work: Any) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine of ours or of Cython's.
    # The event loop holds only weak references to tasks.
    task = asyncio.get_running_loop().create_task(work)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


def _ended(acceptor: asyncio.Task[None]) -> None:
    if not acceptor.cancelled() and (fault := acceptor.exception()) is not None:
        log.error("concurrent accept failed; new calls are accepted one at a time", exc_info=fault)
