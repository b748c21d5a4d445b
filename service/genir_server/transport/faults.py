"""Turns an unexpected exception of a call into the error that its caller gets."""

from __future__ import annotations

import errno

import structlog

from genir_server.domain.errors import GenirError, Reason
from genir_server.observability.error_log import log_unexpected_error

_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_RETRY_SECONDS = 5.0

log = structlog.get_logger("genir.call")


def failure_of(error: Exception, *, with_text: bool, request_id: str, method: str) -> GenirError:
    """The error for the caller; logs the exception.

    Args:
        error: the exception.
        with_text: whether the log may quote the caller.
        request_id: the id of the call.
        method: the method of the call.
    """
    if isinstance(error, GenirError):
        return error
    if _is_out_of_files(error):
        log.error("no file descriptor is left", request_id=request_id, method=method)
        return GenirError(
            Reason.OVERLOADED,
            "the server has no file descriptor left; try again",
            retry_after=_RETRY_SECONDS,
        )
    log_unexpected_error(error, with_text=with_text, request_id=request_id, method=method)
    return GenirError(
        Reason.INTERNAL,
        f"the server failed; its log has the details under request id {request_id}",
    )


def _is_out_of_files(error: BaseException | None) -> bool:
    """Whether the exception, or one that it was raised from, is a lack of file descriptors."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _NO_FILES:
            return True
        error = error.__cause__ or error.__context__
    return False
