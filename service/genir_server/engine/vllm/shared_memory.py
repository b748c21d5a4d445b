"""Removes the shared memory that the processes of an engine leave behind when they are killed.

vLLM's processes hand each other messages through files in /dev/shm. Python's resource tracker knows
most of them, but it removes them only when the server ends, and an engine may be replaced before.
Nothing knows those of vLLM's kernels for CPUs.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory.

_PYTHONS = "psm_"
# A line of /proc/PID/maps. Other names, such as NCCL's, belong to libraries that remove them.
_MAPPED = re.compile(
    rf"^\S+ \S+ \S+ \S+ (\d+) +{FOLDER}/((?:{_PYTHONS}|vllm_dist_)\S+)$", re.MULTILINE
)


class SharedSegments:
    """The segments of shared memory that processes had mapped while they ran.

    Args:
        pids: the ids of the processes.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._segments = {each for pid in pids for each in _mapped_by(pid)}

    def remove(self) -> None:
        """Removes those that are still there and that no process has mapped.

        To be called when the processes have ended. Blocks while it looks at every process of the
        machine that it may look at, which has to be one of the same user to share a segment.
        """
        left = {(inode, name) for inode, name in self._segments if _inode(name) == inode}
        if not left:
            return
        for folder in Path("/proc").glob("[0-9]*"):
            left -= _mapped_by(int(folder.name))
        for _, name in left:
            _remove(name)
        if left:
            logger.info("removed shared memory that the engine left behind: %d files", len(left))


def _mapped_by(pid: int) -> set[tuple[int, str]]:
    """Inode and name of each segment that a process has mapped; none of one that has ended."""
    with suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        return {(int(inode), name) for inode, name in _MAPPED.findall(maps)}
    return set()


def _inode(name: str) -> int:
    with suppress(OSError):
        return (FOLDER / name).stat().st_ino
    return 0


def _remove(name: str) -> None:
    # Somebody else may be faster.
    with suppress(OSError):
        if not name.startswith(_PYTHONS):
            (FOLDER / name).unlink()
            return
        segment = SharedMemory(name)
        segment.close()
        # It also tells the resource tracker, which would complain at the end of the server.
        segment.unlink()
