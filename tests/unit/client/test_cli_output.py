"""The command line when its output cannot be written: one line and exit code 9, no traceback."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genir.cli.exit_codes import ExitCode
from tests.support.cli import COMMAND

if TYPE_CHECKING:
    from tests.support.contract_server import ContractServer

pytestmark = pytest.mark.usefixtures("every_answer")

COMMANDS = [
    ("schema",),
    ("version",),
    ("--help",),
    ("generate", "--help"),
    ("token", "ci"),
    ("generate", "hello"),
    ("generate", "hello", "--quiet", "--stream"),
    ("check-schema", "{}", "--quiet"),
    ("health",),
    ("health", "--json"),
    ("warmup", "--quiet"),
]


def environment(server: ContractServer) -> dict[str, str]:
    return {**os.environ, "GENIR_TARGET": server.target, "PYTHONUNBUFFERED": ""}


def assert_told(code: int, stderr: str, reason: str) -> None:
    assert code == ExitCode.OUTPUT, stderr
    # A token is shown before its entry is written.
    lines = [line for line in stderr.splitlines() if "error" in line]
    assert lines == [f"error: the output cannot be written: {reason}"]
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_full_disk(server: ContractServer, command: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*COMMAND, *command],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(server),
            check=False,
            timeout=60,
        )
    assert_told(done.returncode, done.stderr.decode(), "No space left on device")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_closed_pipe(server: ContractServer, command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *command],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(server),
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert_told(done.returncode, done.stderr.decode(), "Broken pipe")


def test_full_pipe_that_does_not_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    os.write(writer, b" " * size)
    with subprocess.Popen([*COMMAND, "schema"], stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        used = cpu_seconds(process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        used = cpu_seconds(process.pid) - used
        if used >= 0.5:
            process.kill()
        assert used < 0.5
        with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
            text = pipe.read()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert json.loads(text)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_closed_standard_output(server: ContractServer) -> None:
    command = " ".join([*COMMAND, "generate", "hello", ">&-"])
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, env=environment(server), check=False, timeout=60
    )
    assert_told(done.returncode, done.stderr.decode(), "Bad file descriptor")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_standard_error_that_cannot_be_written_changes_nothing(
    server: ContractServer, redirection: str
) -> None:
    command = " ".join([*COMMAND, "generate", "hello", "--stream", redirection])
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, env=environment(server), check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b'{"a":1}\n')


def test_pipe_of_both_outputs_may_be_closed(server: ContractServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "generate", "hello"],
        stdout=writer,
        stderr=writer,
        env=environment(server),
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert done.returncode == ExitCode.OUTPUT


def test_token_file_that_cannot_be_written_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "ci.token"
    done = subprocess.run(
        [*COMMAND, "token", "ci", "--token-file", str(file)],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        check=False,
        timeout=60,
    )
    assert_told(done.returncode, done.stderr.decode(), "File too large")
    assert done.stdout == b""
    assert not file.exists()


def test_server_writes_to_the_streams_of_the_process() -> None:
    done = subprocess.run(
        [*COMMAND, "serve", "--help"], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert b"--port" in done.stdout
