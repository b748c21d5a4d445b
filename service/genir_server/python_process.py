"""Processes that the server starts beside the engine's."""

from __future__ import annotations

import contextlib
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
    that. The child leads a process group of its own, for `wait_for_all`; what a terminal sends to
    the server, the server passes on as it sees fit.

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
        process_group=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def wait_for_all(process: subprocess.Popen[bytes]) -> int:
    """Waits for the end of a process of `start_python`, and gives its exit code.

    Blocks. Where this process inherits the orphans of others, as process 1 of a container does,
    what a killed process leaves behind in its group is waited for too: nobody else would, and each
    would keep its process id.
    """
    code = process.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-process.pid, 0)
    return code
