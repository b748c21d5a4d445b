"""Three real servers behind one client, under load: one dies, then all are restarted in turn."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import pytest

from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import IRClient

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

CALL_SECONDS = 300.0
WAIT_SECONDS = 300.0
DRAIN_SECONDS = 120.0
CALLERS = 3
# A server starts beside two under load: few cores must not be kept busy by the calls alone.
PAUSE_SECONDS = 8 / len(os.sched_getaffinity(0))
# Long enough that calls are always in flight.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 200, "maxLength": 300}},
    "required": ["text"],
    "additionalProperties": False,
}


class Load:
    """Callers that share one client and hardly pause; use it in ``with``."""

    def __init__(self, targets: list[str]) -> None:
        self.outcomes: Counter[str] = Counter()
        self._client = IRClient(targets, timeout=CALL_SECONDS)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._generate) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def add_a_caller_that_streams(self) -> None:
        """A stream that has begun is not made again, so its server must not die under it."""
        self._threads.append(threading.Thread(target=self._stream))
        self._threads[-1].start()

    def wait_for_more(self, calls: int) -> None:
        """Waits until so many more calls have ended."""
        wanted = self.outcomes.total() + calls
        wait_until(lambda: self.outcomes.total() >= wanted, f"{calls} more calls")

    def _generate(self) -> None:
        while not self._over.is_set():
            self._note(lambda: self._client.generate("Write.", schema=SCHEMA).ir_json)
            self._over.wait(PAUSE_SECONDS)

    def _stream(self) -> None:
        while not self._over.is_set():
            with self._client.stream("Write.", schema=SCHEMA) as events:
                self._note(lambda: events.result().ir_json)
            self._over.wait(PAUSE_SECONDS)

    def _note(self, call: Any) -> None:
        try:
            assert call()
            self.outcomes["ok"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a call that failed.
            self.outcomes[f"{type(error).__name__}: {error}"] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()


class Fleet:
    """Servers at fixed addresses; use it in ``with``."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._model = str(make_tiny_model())
        self._cores = sorted(os.sched_getaffinity(0))
        self._starts = 0
        self.servers: list[ServerProcess] = []
        try:
            for _ in range(size):
                self.servers.append(self._start(len(self.servers), port=0))
            for server in self.servers:
                server.wait_ready()
        except BaseException:
            self.close()
            raise

    def start_again(self, place: int) -> None:
        """Starts a server where one was, and waits until it is ready."""
        self.servers[place] = self._start(place, self.servers[place].port)
        self.servers[place].wait_ready()

    def wait_until_called(self, place: int) -> None:
        """Waits until a server has answered a call."""
        server = self.servers[place]
        wait_until(
            lambda: any(line["code"] == "OK" for line in server.log_lines("call")),
            f"a call to server {place}",
        )

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def _start(self, place: int, port: int) -> ServerProcess:
        self._starts += 1
        folder = self._folder / f"start-{self._starts}"
        folder.mkdir()
        return ServerProcess(
            folder,
            [
                "--model",
                self._model,
                "--max-model-len",
                "1024",
                "--schema-workers",
                "1",
                "--drain-timeout",
                str(DRAIN_SECONDS),
                "--port",
                str(port),
            ],
            # One thread each: those of one engine that share cores with another's wait for one
            # another most of the time.
            environment={"VLLM_CPU_OMP_THREADS_BIND": str(self._cores[place % len(self._cores)])},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {WAIT_SECONDS} s")
        time.sleep(0.05)


@pytest.mark.timeout(3600)
def test_no_call_fails_while_servers_die_drain_and_come_back(tmp_path: Path) -> None:
    with (
        Fleet(tmp_path, 3) as fleet,
        Load([server.target for server in fleet.servers]) as load,
    ):
        for place in range(3):
            fleet.wait_until_called(place)

        # One server dies with its engine while calls are in flight. The others take over.
        victim = fleet.servers[0]
        with IRClient(victim.target) as client:
            wait_until(lambda: client.health().activity.calls_in_flight, "a call in flight")
        victim.send_to_group(signal.SIGKILL)
        victim.wait(WAIT_SECONDS)
        load.wait_for_more(20)
        fleet.start_again(0)
        fleet.wait_until_called(0)
        assert set(load.outcomes) == {"ok"}

        # Then each is drained and started again, one after another.
        load.add_a_caller_that_streams()
        for place in range(3):
            server = fleet.servers[place]
            server.send(signal.SIGTERM)
            assert server.wait(DRAIN_SECONDS + WAIT_SECONDS) == 0
            assert not server.log_lines("drain timed out")
            load.wait_for_more(5)
            fleet.start_again(place)
            fleet.wait_until_called(place)
        load.wait_for_more(20)
    assert set(load.outcomes) == {"ok"}
