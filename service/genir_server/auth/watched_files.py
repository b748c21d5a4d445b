"""Reloads files that change while the server runs, such as certificates and the callers file."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POLL_SECONDS = 1.0
"""How often the files are checked. Polling also notices updates of secrets mounted by Kubernetes,
which swap a symbolic link several levels above the file."""

log = structlog.get_logger("genir.reload")

_Signature = tuple[tuple[int, int, int] | None, ...]


class ReloadError(Exception):
    """The files cannot be used. The message contains no secret."""


class WatchedFiles:
    """Loads files once, and again whenever one of them changes.

    Args:
        what: what the files contain, for the log.
        paths: the files.
        load: reads the files and applies all of them or, on an error, none.

    Raises:
        ReloadError: the first load failed.
    """

    def __init__(self, what: str, paths: Sequence[Path], load: Callable[[], None]) -> None:
        self._what = what
        self._paths = tuple(paths)
        self._load = load
        # `check` and `reload` run in threads.
        self._lock = Lock()
        # Taken before loading, so that a change meanwhile is noticed by the next check.
        self._seen = self._signature()
        load()

    async def watch(self) -> None:
        """Checks for changes until cancelled. The old contents stay in force if loading fails."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.check)

    def check(self) -> None:
        """Reloads the files if one of them has changed."""
        with self._lock:
            signature = self._signature()
            if signature != self._seen:
                self._seen = signature
                self._reload()

    def reload(self) -> None:
        """Reloads the files even if none has changed."""
        with self._lock:
            self._seen = self._signature()
            self._reload()

    def _reload(self) -> None:
        try:
            self._load()
        except ReloadError as error:
            log.error("reload failed", what=self._what, detail=str(error))  # noqa: TRY400 - one line, no traceback.
        else:
            log.info("reloaded", what=self._what)

    def _signature(self) -> _Signature:
        return tuple(map(_file_signature, self._paths))


def _file_signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
