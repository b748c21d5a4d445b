"""What each signal does to a real server process, whose engine is scripted."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.support.tiny_server import NO_RETRIES, TinyServer
from genir import IRClient, NotAuthorizedError
from genir.types import Completed, TextDelta
from genir_server.python_process import SERVER_SIGNALS
from genir_server.supervision import signals
from tests.support.in_process_server import digest
from tests.support.operations_docs import OPERATIONS
from tests.support.scripted_server import SCHEMA, SLOWLY, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

OLD, NEW = "old-token", "new-token"
SECONDS = 30.0


def callers(token: str) -> str:
    return f'[callers.a]\ntokens = ["{digest(token)}"]\npermissions = ["generate", "debug"]\n'


@pytest.fixture
def callers_file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.toml"
    path.write_text(callers(OLD))
    return path


@pytest.fixture
def server(tmp_path: Path, callers_file: Path) -> Iterator[ScriptedServer]:
    process = ScriptedServer(tmp_path, "--auth-file", str(callers_file))
    try:
        process.wait_ready(OLD)
        yield process
    finally:
        process.close()


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def blocked_or_ignored(process: psutil.Process) -> set[int]:
    """Signals that cannot end a process."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Blk|Ign):\t(\w+)$", text, re.MULTILINE)
    return {n for n in range(1, 65) if any(int(mask, 16) >> (n - 1) & 1 for mask in masks)}


def test_sighup_reloads_the_callers_and_no_stream_ends(
    server: ScriptedServer, callers_file: Path
) -> None:
    with IRClient(server.target, token=OLD, retry=NO_RETRIES) as old:
        with old.stream(f"Write {SLOWLY}.", schema=SCHEMA) as events:
            iterator = iter(events)
            while not isinstance(next(iterator), TextDelta):
                pass
            callers_file.write_text(callers(NEW))
            server.send_to_group(signal.SIGHUP)
            wait_for(lambda: bool(server.log_lines("reloaded")))
            with IRClient(server.target, token=NEW, retry=NO_RETRIES) as new:
                new.generate("Write.", schema=SCHEMA)
            assert isinstance(list(iterator)[-1], Completed)
        with pytest.raises(NotAuthorizedError):
            old.generate("Write.", schema=SCHEMA)


def test_sighup_keeps_the_callers_if_the_file_is_broken(
    server: ScriptedServer, callers_file: Path
) -> None:
    # Two errors: of the watch, which notices the change, and of the signal.
    callers_file.write_text("not TOML")
    wait_for(lambda: len(server.log_lines("reload failed")) == 1)
    server.send(signal.SIGHUP)
    wait_for(lambda: len(server.log_lines("reload failed")) == 2)
    assert "Traceback" not in server.log
    with IRClient(server.target, token=OLD, retry=NO_RETRIES) as old:
        old.generate("Write.", schema=SCHEMA)


def test_ignored_signals_change_nothing(server: ScriptedServer) -> None:
    for number in signals.IGNORED:
        server.send_to_group(number)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        server.send_to_group(number)
    wait_for(lambda: len(server.log_lines("signal ignored")) == len(signals.IGNORED))
    with IRClient(server.target, token=OLD, retry=NO_RETRIES) as client:
        client.generate("Write.", schema=SCHEMA)
        assert client.health().ready


def test_signals_during_a_start_do_not_end_the_server(tmp_path: Path) -> None:
    process = ScriptedServer(tmp_path)
    try:
        for _ in range(20):
            for number in (signal.SIGHUP, signal.SIGUSR2):
                process.send_to_group(number)
            time.sleep(0.05)
        process.wait_ready()
    finally:
        process.close()


def test_signals_for_the_server_spare_its_processes(tmp_path: Path) -> None:
    """With the real engine, from its start on, as a hang-up of a terminal."""
    process = TinyServer(tmp_path)
    try:
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            process.send_to_group(signal.SIGHUP)
            time.sleep(0.05)
        process.wait_ready()
        descendants = process.descendants()
        assert len(descendants) > 3
        # Schema workers fork a child for each job.
        lasting = {
            each
            for each in descendants
            if each.ppid() == process.process.pid or "worker_main" not in " ".join(each.cmdline())
        }
        for each in descendants:
            assert blocked_or_ignored(each) >= set(SERVER_SIGNALS), each
        process.send_to_group(signal.SIGHUP)
        process.send_to_group(signal.SIGUSR2)
        with IRClient(process.target, retry=NO_RETRIES) as client:
            client.generate("Write.", schema={"type": "boolean"})
        assert lasting <= set(process.descendants())
    finally:
        process.close()


def test_every_signal_is_in_the_table_of_the_operations_page() -> None:
    table = OPERATIONS.partition("## Signals")[2].partition("\n## ")[0]
    named = set(re.findall(r"SIG[A-Z0-9]+", table))
    harmless = {"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"}
    # The real-time signals between these two have no names.
    assert {each.name for each in signal.Signals} - harmless <= named
