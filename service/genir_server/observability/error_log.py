"""Logs unexpected exceptions without their text, which may quote a caller."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger("genir.call")


def log_unexpected_error(
    error: Exception, *, with_text: bool, request_id: str | None = None, method: str
) -> None:
    """Logs an unexpected exception of a call.

    Args:
        error: the exception.
        with_text: whether to log its message and traceback, which may quote a prompt or an output.
            Without, only its type and stack frames are logged, and those of its causes.
        request_id: the id of the call.
        method: the method of the call.
    """
    if with_text:
        log.error("unexpected error", exc_info=error, request_id=request_id, method=method)
        return
    log.error("unexpected error", places=list(_places(error)), request_id=request_id, method=method)


def _places(error: BaseException | None) -> Iterator[str]:
    """One line for the exception and each of its causes: the type and its stack frames."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)
        stack = ", ".join(
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames
        )
        yield f"{type(error).__module__}.{type(error).__qualname__} at {stack}"
        error = error.__cause__ or error.__context__
