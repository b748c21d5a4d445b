"""Carries the cause of a failed start from the process that failed to the server.

vLLM reports only that one of its processes did not start ("see root cause above"); the cause is a
stack trace among other processes' log lines. While an engine starts there is a file, `StartFault`,
in which its processes write the first fault in one line. After the start the file is removed, and
faults are logged with their stack traces again.
"""

from __future__ import annotations

import logging
import os
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from genir_server.patch_table.fits import applies

_LOGGERS = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")


class StartFault:
    """The server's side: a file that exists while an engine starts."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="genir-engine-start-")
        os.close(handle)
        self.path = path

    def read(self) -> str:
        """The fault in one line; "" if there is none."""
        with suppress(OSError):
            return Path(self.path).read_text(errors="replace").strip()
        return ""

    def close(self) -> None:
        """Removes the file, after which faults are logged with stack traces."""
        Path(self.path).unlink(missing_ok=True)


def write_start_faults(path: str) -> None:
    """The engine process's side: writes the first fault to `path` instead of a stack trace."""
    if not applies("start fault"):
        return

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not Path(path).exists():
            return True
        if not Path(path).stat().st_size:
            Path(path).write_text(one_line(error))
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger().isEnabledFor(logging.DEBUG)

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(keep)
    print_trace = traceback.print_exc

    def print_exc(*arguments: object, **keywords: object) -> None:
        # multiprocessing calls this when a process ends with an exception.
        if not Path(path).exists():
            print_trace(*arguments, **keywords)  # type: ignore[arg-type]

    traceback.print_exc = print_exc


def one_line(error: BaseException) -> str:
    """The essential line of an error, for an operator."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        # pydantic first counts its errors and then lists them.
        lines = [line for line in lines[1:] if not line.startswith("For further information")]
        lines = [" ".join(lines[:2])]
    return lines[0].split(" [type=")[0] if lines else type(error).__name__
