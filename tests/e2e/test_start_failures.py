"""A server that cannot start gives the reason in one line and a documented exit code."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from bench.support.server_process import READY_SECONDS, ServerProcess
from bench.support.tiny_model import make_tiny_model
from tests.support.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    """Servers that cannot start, by fault. They start side by side: each needs one core."""
    no_model = tmp_path_factory.mktemp("folder-without-a-model")
    (no_model / "config.json").write_text("{}")
    kv_cache = f"kv_cache_memory_bytes={1 << 20}"
    faults: dict[str, tuple[str, ...]] = {
        "missing model": ("--model", str(no_model / "no-such-model")),
        "folder without a model": ("--model", str(no_model)),
        "too little memory": (
            *("--model", str(make_tiny_model()), "--max-model-len", "4096"),
            *("--engine-args", kv_cache),
        ),
    }
    with contextlib.ExitStack() as stack:
        servers = {}
        for fault, arguments in faults.items():
            folder = tmp_path_factory.mktemp("failing")
            servers[fault] = ServerProcess(folder, arguments, kv_cache_gib=None)
            stack.callback(servers[fault].close)
        yield servers


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing model", ["no-such-model"]),
        ("folder without a model", ["folder-without-a-model"]),
        ("too little memory", ["max seq len", "memory"]),
    ],
)
def test_failed_start_gives_one_line_and_exit_code_4(
    failing: dict[str, ServerProcess], fault: str, said: list[str]
) -> None:
    server = failing[fault]
    assert server.wait(READY_SECONDS) == 4
    assert "Traceback" not in server.log
    failures: list[dict[str, Any]] = [
        json.loads(line) for line in server.log.splitlines() if '"cannot start"' in line
    ]
    assert len(failures) == 1
    reason = failures[0]["detail"]
    assert isinstance(reason, str)
    assert "\n" not in reason
    assert all(part in reason for part in said), reason


def test_busy_port_gives_one_line_and_exit_code_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"ended with 3: .*{port}"):
            ServerProcess(tmp_path, ["--port", str(port)])
    (line,) = (tmp_path / "server.log").read_text().splitlines()
    assert json.loads(line)["event"] == "cannot start"


def test_unknown_backend_gives_exit_code_2(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 2: .*structured"):
        ServerProcess(tmp_path, ["--structured-output-backend", "wishful"])


def test_a_start_that_takes_too_long_gives_one_line_and_exit_code_4(tmp_path: Path) -> None:
    server = ScriptedServer(tmp_path, "--start-timeout", "0.5")
    try:
        assert server.wait(60) == 4
        assert "Traceback" not in server.log
        (failure,) = server.log_lines("cannot start")
        assert "--start-timeout" in failure["detail"]
    finally:
        server.close()


def test_unwritable_port_file_gives_one_line_and_exit_code_2(tmp_path: Path) -> None:
    no_folder = tmp_path / "missing" / "port"
    with pytest.raises(RuntimeError, match="ended with 2"):
        ScriptedServer(tmp_path, "--port-file", str(no_folder))
    (line,) = (
        line
        for line in (tmp_path / "server.log").read_text().splitlines()
        if "listening" not in line
    )
    failure = json.loads(line)
    assert failure["event"] == "cannot start"
    assert str(no_folder) in failure["detail"]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--start-timeout", "inf"], {}, "start_timeout: .*finite number"),
        (["--start-timeout", "1e30"], {}, "start_timeout: .*1000000"),
        (["--max-connection-age", "inf"], {}, "max_connection_age: .*finite number"),
        (["--max-connection-age", "1e7"], {}, "max_connection_age: .*1000000"),
        (["--max-message-bytes", "99999999999"], {}, "max_message_bytes: .*2147483647"),
        (["--max-metadata-bytes", "99999999999"], {}, "max_metadata_bytes: .*2147483647"),
        (["--max-streams-per-connection", "99999999999"], {}, "max_streams_per_connection: "),
        (["--engine-args", "dtype"], {}, "engine_args: write NAME=VALUE"),
        (["--lora-adapters", "adapter"], {}, "lora_adapters: write NAME=VALUE"),
        ([], {"GENIR_ENGINE_ARGS": "{bad"}, "engine_args: write NAME=VALUE, or a JSON object"),
        ([], {"GENIR_SCHEMA_LIMITS": "nodes=3"}, "schema_limits: write NAME=VALUE, or a JSON"),
    ],
)
def test_unusable_setting_gives_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(RuntimeError, match=f"ended with 2: genir serve: {said}"):
        ScriptedServer(tmp_path, *arguments, environment=environment)
    assert len((tmp_path / "server.log").read_text().splitlines()) == 1
