"""Starts, measures and stops server processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PORT_SECONDS = 120.0
STOP_SECONDS = 60.0
_ENGINE_TITLE = "VLLM::"
"""Names that vLLM gives to the processes of an engine."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its address, its process, and its start time (monotonic)."""

    port: int
    process: psutil.Process
    started: float
    log: Path

    @property
    def target(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time of the server and its helpers, without the engine's processes."""
        times = self.process.cpu_times()
        used = float(times.user + times.system)
        for helper in self._helpers():
            with contextlib.suppress(psutil.Error):
                # A helper's children end too early to be read, but their time counts for the
                # helper.
                used += sum(helper.cpu_times()[:4])
        return used

    def resident_bytes(self) -> int:
        """Memory of the server and its helpers."""
        resident = int(self.process.memory_info().rss)
        for helper in self._helpers():
            with contextlib.suppress(psutil.Error):
                resident += int(helper.memory_info().rss)
        return resident

    def _helpers(self) -> list[psutil.Process]:
        """Child processes outside the engine, such as genir's schema workers."""
        helpers = []
        for child in self.process.children():
            with contextlib.suppress(psutil.Error):
                if not " ".join(child.cmdline()).startswith(_ENGINE_TITLE):
                    helpers.append(child)
        return helpers


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    port: int | None = None,
    port_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """Runs a server while the block runs, and ends all of its processes afterwards.

    Args:
        command: what to run.
        port: the port that it was given, or
        port_file: the file that it writes its port to.
        environment: variables in addition to those of this process.
        log: file for its output. Default: a temporary file.

    Raises:
        RuntimeError: it ended, or opened no port in time. The message has the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="genir-bench-") as folder:
        log = log or Path(folder) / "log"
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        try:
            opened = port if port is not None else _port_from(port_file, process, log)
            yield Server(opened, psutil.Process(process.pid), started, log)
        finally:
            _end(process)


@contextlib.contextmanager
def genir_server(
    arguments: Sequence[str] = (),
    *,
    module: Sequence[str] = ("-m", "genir_server"),
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Server]:
    """Runs genir, or another module that takes genir's arguments, on a free port."""
    with tempfile.TemporaryDirectory(prefix="genir-bench-") as folder:
        port_file = Path(folder) / "port"
        command = [*prefix, sys.executable, *module, "--port", "0"]
        command += ["--port-file", str(port_file), "--log-format", "json", *arguments]
        with running(command, port_file=port_file, environment=environment) as server:
            yield server


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_lines(log: Path, count: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _port_from(port_file: Path | None, process: subprocess.Popen[bytes], log: Path) -> int:
    began = time.monotonic()
    while time.monotonic() - began < PORT_SECONDS and process.poll() is None:
        text = port_file.read_text() if port_file and port_file.exists() else ""
        if text.endswith("\n"):
            return int(text)
        time.sleep(0.02)
    raise RuntimeError(f"the server did not open its port: {last_lines(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # End engine processes that the server left behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
