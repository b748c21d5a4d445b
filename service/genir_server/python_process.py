"""Starts and reaps the Python processes that the server runs beside the engine's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER_SIGNALS = frozenset({signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
"""Signals that mean something to the server alone.

They are blocked in the processes that it starts. A terminal sends some of them to every process of
the group, and an operator may send the others to every process of a service. The server handles
them, and needs its processes meanwhile.
"""


def start_python(
    module: str,
    *arguments: str,
    stdin: int,
    stdout: int,
    stderr: int,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts Python on a module that this process can import.

    Blocks for a few milliseconds, until the child has become another program. `subprocess` uses
    vfork. uvloop starts processes by a plain fork instead, and gRPC's fork handlers then start
    threads in the child, which can crash it before it becomes another program. The child leads a
    process group of its own, for `wait_and_reap_group`, and blocks `SERVER_SIGNALS`.

    Args:
        module: what ``python -m`` runs.
        arguments: its arguments.
        stdin: a descriptor or a constant of `subprocess`, like the other two.
        stdout: see `stdin`.
        stderr: see `stdin`.
        inherited: further descriptors, which have the same numbers in the child.

    Raises:
        OSError: the process cannot be started.

    """
    # A new process inherits the signal mask of the thread that starts it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SERVER_SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603 - modules of the project, never a caller's text
            [sys.executable, "-m", module, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=inherited,
            process_group=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_and_reap_group(process: subprocess.Popen[bytes]) -> int:
    """Waits until a process of `start_python` has exited; gives its exit code.

    Blocks. Where this process adopts orphans, as process 1 of a container does, it also reaps what
    the process has left behind in its group. Nobody else would, and zombies use up process ids.
    """
    code = process.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-process.pid, 0)
    return code
