"""Starts a genir server for a measurement: a process on a free port.

Without further arguments it runs the embedded model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PORT_SECONDS = 120.0
_STOP_SECONDS = 60.0


@contextmanager
def local_server(arguments: Sequence[str] = (), log: Path | None = None) -> Iterator[str]:
    """Runs a server and yields its address. Stops it at the end of the block.

    Args:
        arguments: additional server arguments.
        log: file to append the log to. None discards the log.

    Raises:
        RuntimeError: the server ended at once, or opened no port. The message has the end of its
        log.

    """
    with tempfile.TemporaryDirectory(prefix="genir-bench-") as folder:
        port_file, log_file = Path(folder) / "port", log or Path(folder) / "log"
        command = [sys.executable, "-m", "genir_server", "--port", "0"]
        command += ["--port-file", str(port_file), *arguments]
        environment = dict(os.environ)
        # vLLM ignores an argument with the size of the KV cache if the variable is set.
        if not any(argument.startswith("kv_cache_memory_bytes") for argument in arguments):
            # KV cache for 45,000 tokens of the embedded model, which is enough.
            environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        with log_file.open("ab") as file:
            server = subprocess.Popen(
                command, stdout=file, stderr=file, env=environment, start_new_session=True
            )
        try:
            yield f"127.0.0.1:{_port(server, port_file, log_file)}"
        finally:
            server.terminate()
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _port(server: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> int:
    began = time.monotonic()
    while server.poll() is None and time.monotonic() - began < _PORT_SECONDS:
        text = port_file.read_text() if port_file.exists() else ""
        if text.endswith("\n"):
            return int(text)
        time.sleep(0.1)
    raise RuntimeError(f"the server does not start: {log_file.read_text()[-2000:]}")
