"""Standard output and error of the command line, whose faults never end in a traceback.

A full disk or a closed pipe ends the command with one line and `ExitCode.OUTPUT`. What cannot be
written to stderr is dropped: nobody is there to be told.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

from genir.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Buffer


def guard_output() -> None:
    """Replaces ``sys.stdout`` and ``sys.stderr`` by streams that handle faults of writing."""
    sys.stdout = _guarded(sys.stdout, _Results)
    sys.stderr = _guarded(sys.stderr, _Remarks)


def release_output() -> None:
    """Puts the process's own streams back where `guard_output` replaced them."""
    if isinstance(getattr(getattr(sys.stdout, "buffer", None), "raw", None), _Guarded):
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def fail(fault: OSError) -> SystemExit:
    """Says on stderr why the output cannot be written, and returns the exit that follows."""
    reason = os.strerror(fault.errno) if fault.errno else str(fault)
    sys.stderr.write(f"error: the output cannot be written: {reason}\n")
    sys.stderr.flush()
    return SystemExit(ExitCode.OUTPUT)


class _Guarded(io.FileIO):
    """A descriptor to write to, which stays open. None stands for one that is closed."""

    def __init__(self, descriptor: int | None) -> None:
        self._is_closed = descriptor is None
        target = os.open(os.devnull, os.O_WRONLY) if descriptor is None else descriptor
        super().__init__(target, "wb", closefd=False)

    def write(self, data: Buffer, /) -> int:
        size = memoryview(data).nbytes
        if self._is_closed:
            self._fail(OSError(errno.EBADF, os.strerror(errno.EBADF)))
            return size
        try:
            while (written := super().write(data)) is None:  # Non-blocking, and full.
                select.select([], [self], [])
        except OSError as fault:
            self._fail(fault)
            return size
        return written

    def _fail(self, fault: OSError) -> None:
        raise NotImplementedError


class _Results(_Guarded):
    """Standard output: a fault ends the command."""

    _failed = False

    def _fail(self, fault: OSError) -> None:
        if self._failed:  # What the buffer still holds at the end of the process.
            return
        self._failed = True
        raise fail(fault) from None


class _Remarks(_Guarded):
    """Standard error: a fault is ignored."""

    def _fail(self, fault: OSError) -> None:
        """Ignores it."""


def _guarded(stream: TextIO | None, kind: type[_Guarded]) -> TextIO:
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # A test's own.
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(None if stream is None else stream.fileno())),
        encoding="utf-8" if stream is None else stream.encoding,
        # Text from a server may hold characters that the terminal's encoding lacks.
        errors="backslashreplace",
        line_buffering=kind is _Remarks or (stream is not None and stream.isatty()),
    )
