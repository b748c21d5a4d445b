"""What grpc.aio hides and what it exaggerates about calls that end early.

It reports a message that grpc-core could not read as the end of the messages, although grpc-core
has then ended the call with a status of its own, such as RESOURCE_EXHAUSTED for a message over the
limit. And it logs a stack trace when a caller leaves at the moment at which its answer is sent.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

import grpc
import structlog

from genir_server.patch_table.fits import applies, outcomes

_CALLER_LEFT = "ExecuteBatchError raised in core by servicer method"

_failed: ContextVar[bool] = ContextVar("genir_failed_read", default=False)

log = structlog.get_logger("genir.transport")


def read_failed() -> bool:
    """Whether grpc-core could not read a message of the current task's call."""
    return _failed.get()


def observe_ended_calls() -> None:
    """Makes grpc.aio note failed reads and log no lost answers. May be called more than once."""
    # Adding the same function again has no effect.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_logging)
    if not applies("failed reads"):
        log.warning(
            "messages over the limit are logged as cancelled calls",
            grpcio=grpc.__version__,
            reason=outcomes()["failed reads"],
        )
        return
    from grpc._cython import cygrpc  # type: ignore[attr-defined]

    cygrpc._receive_message = _receive_message  # noqa: SLF001


def _is_worth_logging(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_CALLER_LEFT)


async def _receive_message(grpc_call_wrapper: object, loop: object) -> bytes | None:
    """The next message of a call, as in grpc.aio; None at the end and after a failure."""
    from grpc._cython import cygrpc  # type: ignore[attr-defined]

    operation: Any = cygrpc.ReceiveMessageOperation(0)
    try:
        await cygrpc.execute_batch(grpc_call_wrapper, (operation,), loop)
    except cygrpc.ExecuteBatchError:
        _failed.set(True)
        return None
    message: bytes | None = operation.message()
    return message
