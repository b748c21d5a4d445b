"""Processes that the server starts beside the engine's."""

from __future__ import annotations

import os
import subprocess
import sys


def start_python(
    module: str, *arguments: str, stdin: int, stdout: int, stderr: int
) -> subprocess.Popen[bytes]:
    """Starts Python on a module that this process can import.

    Blocks for a few milliseconds, until the child has become another program. `subprocess` uses
    vfork. uvloop's own way to start a process is a plain fork, and gRPC has handlers on that which
    start threads of gRPC's in the child before it is another program: a child was seen to die of
    that.

    Args:
        module: what ``python -m`` runs.
        arguments: its arguments.
        stdin: a descriptor or a constant of `subprocess`, like the other two.
        stdout: see `stdin`.
        stderr: see `stdin`.

    Raises:
        OSError: it could not be started.

    """
    return subprocess.Popen(  # noqa: S603 - modules of the project, never a caller's words
        [sys.executable, "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
