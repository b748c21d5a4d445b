"""Runs a genir server as a separate process, as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from genir import IRClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

READY_SECONDS = 600.0
PORT_SECONDS = 120.0


class ServerProcess:
    """A server process with its port and log. `close` ends every process of it.

    Args:
        folder: where its files go.
        arguments: its command line.
        kv_cache_gib: size of the KV cache, if the environment has none.
        environment: further environment variables.
        module: what ``python -m`` runs.
        open_files: its limit of file descriptors, soft and hard.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        kv_cache_gib: int | None = 1,
        environment: Mapping[str, str] | None = None,
        *,
        module: str = "genir_server",
        open_files: int | None = None,
    ) -> None:
        self.log_path = folder / "server.log"
        port_file = folder / "port"
        command = [
            sys.executable,
            "-m",
            module,
            "--port",
            "0",
            "--port-file",
            str(port_file),
            "--log-format",
            "json",
            *arguments,
        ]
        if open_files is not None:
            command = ["sh", "-c", f'ulimit -n {open_files}; exec "$0" "$@"', *command]
        variables = {**os.environ, **(environment or {})}
        if kv_cache_gib is not None:
            variables.setdefault("VLLM_CPU_KVCACHE_SPACE", str(kv_cache_gib))
        with self.log_path.open("wb") as log:
            # A new session: a signal to the process group reaches every process of the server.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=variables, start_new_session=True
            )
        self.started = time.monotonic()
        try:
            self.port = self._wait_for_port(port_file)
        except TimeoutError:
            self.send_to_group(signal.SIGKILL)
            self.process.wait()
            raise
        self.port_open_after = time.monotonic() - self.started
        self.target = f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """The whole log so far."""
        return self.log_path.read_text(errors="replace")

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines with that event, in order."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def wait_ready(self, token: str | None = None, seconds: float = READY_SECONDS) -> float:
        """Waits until the server is ready.

        Args:
            token: a caller's token, if the server wants one.
            seconds: maximum wait.

        Returns:
            Seconds since the process was started.

        Raises:
            RuntimeError: the server process ended.

        """

        def still_runs(_: object) -> None:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.log}")

        with IRClient(self.target, token=token) as client:
            client.wait_ready(seconds, on_progress=still_runs)
        return time.monotonic() - self.started

    def descendants(self) -> list[psutil.Process]:
        """All child processes, recursively."""
        children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return children

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the server process."""
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Sends a signal to every process of the server."""
        os.killpg(self.process.pid, number)

    def wait(self, seconds: float) -> int:
        """Waits for the server to end. Returns its exit code."""
        return self.process.wait(seconds)

    def close(self) -> None:
        """Ends the server, by SIGKILL if it does not drain within a minute."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.send_to_group(signal.SIGKILL)
                self.process.wait()

    def _wait_for_port(self, port_file: Path) -> int:
        while time.monotonic() - self.started < PORT_SECONDS:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.log}")
            text = port_file.read_text() if port_file.exists() else ""
            if text.endswith("\n"):
                return int(text)
            time.sleep(0.05)
        raise TimeoutError(f"no port after {PORT_SECONDS} s: {self.log}")


def still_running(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """The processes that have not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    return [each for each in processes if not _ends(each, max(0.0, deadline - time.monotonic()))]


def _ends(process: psutil.Process, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    except (ProcessLookupError, FileNotFoundError):
        # Newer kernels answer ENOENT for a process that has just been reaped.
        pass
    return True
