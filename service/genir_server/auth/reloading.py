"""Follows files that are replaced while the server runs, such as certificates and callers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POLL_SECONDS = 1.0
"""How often the files are looked at. Polling also sees what Kubernetes does to mounted secrets:
it swaps a symbolic link several levels above the file."""

log = structlog.get_logger("genir.reload")

_Signature = tuple[tuple[int, int, int] | None, ...]


class ReloadError(Exception):
    """What the files hold cannot be used. The message holds no secret."""


class FollowedFiles:
    """Loads files once, and again whenever one of them changes.

    Args:
        what: what the files hold, for the log.
        paths: the files.
        load: reads them and puts what they hold into force, all or nothing.

    Raises:
        ReloadError: the first load failed.
    """

    def __init__(self, what: str, paths: Sequence[Path], load: Callable[[], None]) -> None:
        self._what = what
        self._paths = tuple(paths)
        self._load = load
        # Taken before loading, so that a change in between is seen as one.
        self._seen = self._signature()
        load()

    async def follow(self) -> None:
        """Looks for changes until cancelled. What cannot be used leaves the old in force."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Looks once."""
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._load()
        except ReloadError as fault:
            log.error("not reloaded, the old stays in force", what=self._what, detail=str(fault))  # noqa: TRY400 - one line, no traceback.
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
