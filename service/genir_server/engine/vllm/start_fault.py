"""How the reason of a failed start gets out of the process that failed.

vLLM tells its parent only that one of its processes did not start, "see root cause above", and the
root cause is a stack trace among other processes' lines. The file that a `StartFault` stands for is
where the engine's processes leave the first fault in one line while it exists; once the engine is
up, or has failed, it is gone, and faults are logged with their traces again.
"""

from __future__ import annotations

import logging
import os
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

_LOGGERS = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")


class StartFault:
    """The server's end: a file that is there while an engine starts."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="genir-engine-start-")
        os.close(handle)
        self.path = path

    def read(self) -> str:
        """The fault in one line; empty when none was left."""
        with suppress(OSError):
            return Path(self.path).read_text(errors="replace").strip()
        return ""

    def close(self) -> None:
        """Removes the file: what fails from now on fails in an engine that is up."""
        Path(self.path).unlink(missing_ok=True)


def leave_start_faults(path: str) -> None:
    """The other end: has this process leave its fault at `path`, once, instead of a stack trace."""

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
        # What multiprocessing calls for a process that ends with an exception.
        if not Path(path).exists():
            print_trace(*arguments, **keywords)  # type: ignore[arg-type]

    traceback.print_exc = print_exc


def one_line(error: BaseException) -> str:
    """The gist of an error in one line, for an operator."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        # pydantic counts its errors first and names the faults below.
        lines = [line for line in lines[1:] if not line.startswith("For further information")]
        lines = [" ".join(lines[:2])]
    return lines[0].split(" [type=")[0] if lines else type(error).__name__
