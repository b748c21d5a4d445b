"""A server that cannot start says why in one line and ends with a documented code."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from bench.support.server_process import READY_SECONDS, ServerProcess
from bench.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def reason_of_failure(folder: Path, *arguments: str) -> str:
    """The one line that a server gives up with; it must end with code 4 and show no traceback."""
    server = ServerProcess(folder, arguments, kv_cache_gib=None)
    try:
        assert server.wait(READY_SECONDS) == 4
    finally:
        server.close()
    assert "Traceback" not in server.log
    failures: list[dict[str, Any]] = [
        json.loads(line) for line in server.log.splitlines() if '"cannot start"' in line
    ]
    assert len(failures) == 1
    reason = failures[0]["detail"]
    assert isinstance(reason, str)
    assert "\n" not in reason
    return reason


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    assert "no-such-model" in reason_of_failure(
        tmp_path, "--model", str(tmp_path / "no-such-model")
    )


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert str(tmp_path) in reason_of_failure(tmp_path, "--model", str(tmp_path))


def test_a_context_that_does_not_fit_into_memory(tmp_path: Path) -> None:
    reason = reason_of_failure(
        tmp_path,
        "--model",
        str(make_tiny_model()),
        "--max-model-len",
        "4096",
        "--engine-args",
        f"kv_cache_memory_bytes={1 << 20}",
    )
    assert "max seq len" in reason
    assert "memory" in reason


def test_an_engine_argument_that_is_none(tmp_path: Path) -> None:
    assert "no_such_argument" in reason_of_failure(tmp_path, "--engine-args", "no_such_argument=1")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"ended with 3: .*{port}"):
            ServerProcess(tmp_path, ["--port", str(port)])


def test_a_backend_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 2: .*structured"):
        ServerProcess(tmp_path, ["--structured-output-backend", "wishful"])
