"""Carries the cause of a failed start from the process that failed to the server.

vLLM reports only that one of its processes did not start ("see root cause above"); the cause is a
stack trace among other processes' log lines. While an engine starts there is a file in which its
processes write the first fault in one line, see `one_start_error`. After the start the file is
removed, and faults are logged with their stack traces again.
"""

from __future__ import annotations

import logging
import os
import tempfile
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from genir_server.engine.protocol import EngineStartError
from genir_server.patch_table.fits import applies

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGERS = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")


@contextmanager
def one_start_error(model_name: str) -> Iterator[str]:
    """Makes any failure inside the block one error that has the cause in its line.

    Args:
        model_name: the model's name for callers.

    Yields:
        Path of a file that exists inside the block, for the cause: see `write_start_faults`.

    Raises:
        EngineStartError: the start inside the block failed.

    """
    handle, path = tempfile.mkstemp(prefix="genir-engine-start-")
    os.close(handle)
    try:
        yield path
    except EngineStartError:
        raise
    except Exception as error:  # vLLM documents no exception types.
        cause = _read(path) or one_line(error)
        raise EngineStartError(f"vLLM could not start {model_name}: {cause}") from error
    finally:
        # From now on faults are logged with stack traces.
        Path(path).unlink(missing_ok=True)


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(errors="replace").strip()
    return ""


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
