"""How an exception that nobody foresaw is logged: without its text, which may quote a caller."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger("genir.call")


def log_fault(
    error: Exception, *, with_text: bool, request_id: str | None = None, method: str
) -> None:
    """Logs an exception that nobody foresaw.

    Its text may quote a prompt or an output. Without `with_text` only its type and the places that
    it went through are logged, and the same of its causes.
    """
    if with_text:
        log.error("unexpected fault", exc_info=error, request_id=request_id, method=method)
        return
    log.error("unexpected fault", places=list(_places(error)), request_id=request_id, method=method)


def _places(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)
        way = ", ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames)
        yield f"{type(error).__module__}.{type(error).__qualname__} by way of {way}"
        error = error.__cause__ or error.__context__
