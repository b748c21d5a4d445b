"""Abuse of HTTP/2 against grpc-core and the server's own limits. SECURITY.md lists the results.

Each test abuses a server process and watches the memory of that process. Then it makes a normal
call.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest
from h2.errors import ErrorCodes
from h2.events import StreamReset

from genir.v1 import ir_service_pb2_grpc
from tests.support.http2 import PREFACE, RawCaller, closes, field, frame
from tests.support.in_process_server import GOOD, REQUEST, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATE = "/genir.v1.IRService/GenerateIR"
STREAM = "/genir.v1.IRService/StreamIR"
CHECK = "/grpc.health.v1.Health/Check"
TOKEN = ("authorization", "Bearer t")
MEMORY_MIB = 192
MEMORY_MEANWHILE_MIB = 448
"""Includes received data that is not parsed yet. Less than the largest test sends."""
MEBIBYTE = 1 << 20
SETTINGS_SECONDS = 5.0
"""How long the server waits for the acknowledgement of its settings."""
SLACK_SECONDS = 10.0
STREAMS = 64
"""The server's limit of streams on a connection."""

Server = tuple[str, psutil.Process]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    callers = tmp_path_factory.mktemp("callers") / "callers.toml"
    callers.write_text(f'[callers.a]\ntokens = ["{digest("t")}"]\npermissions = ["generate"]\n')
    command = [sys.executable, "-m", "tests.support.http2_server", str(callers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            # The server also logs there, and a full pipe would block it.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()


class MemoryWatch(threading.Thread):
    """Records the maximum memory of a process while it runs."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__()
        self._process = process
        self._over = threading.Event()
        self.before = self.max = process.memory_info().rss

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.max = max(self.max, self._process.memory_info().rss)

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.fixture(autouse=True)
def bounded_memory_and_next_call_succeeds(server: Server) -> Iterator[None]:
    target, process = server
    watch = MemoryWatch(process)
    watch.start()
    try:
        yield
    finally:
        watch.stop()
    assert answers(target)
    growth = (watch.max - watch.before) / MEBIBYTE
    left = (process.memory_info().rss - watch.before) / MEBIBYTE
    # `-rP` prints it: the figures in SECURITY.md.
    print(f"the server's memory grew by {growth:.0f} MiB at most, {left:.0f} stay")  # noqa: T201
    assert growth < MEMORY_MEANWHILE_MIB
    assert left < MEMORY_MIB


def answers(target: str) -> bool:
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(target, options) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        metadata = (TOKEN,)
        return stub.GenerateIR(REQUEST, timeout=30, metadata=metadata).ir_json == GOOD


def test_call_without_a_message_ends(server: Server) -> None:
    for path in (GENERATE, STREAM, CHECK, "/grpc.health.v1.Health/Watch"):
        with RawCaller(server[0]) as caller:
            caller.start(path, (TOKEN,), end=True)
            caller.flush()
            status = caller.status(20)
            assert status is not None, path
            assert status[0] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_incomplete_message_times_out(server: Server) -> None:
    """Slowloris: an authenticated caller opens a call and sends half of a message."""
    with RawCaller(server[0]) as caller:
        stream = caller.start(GENERATE, (TOKEN,))
        caller.h2.send_data(stream, b"\0\0\0\1\0half")
        caller.flush()
        status = caller.status(20)
    assert status is not None
    assert status[0] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_unauthenticated_call_is_refused_before_its_message(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        caller.start(GENERATE)
        caller.flush()
        status = caller.status(20)
    assert status is not None
    assert status[0] == grpc.StatusCode.UNAUTHENTICATED.value[0]


def test_silent_connection_is_closed(server: Server) -> None:
    """Slowloris on the connection: no preface, half of one, no settings, no acknowledgement."""
    host, _, port = server[0].rpartition(":")
    with contextlib.ExitStack() as stack:
        quiet = []
        for said in (b"", PREFACE[:10], PREFACE, PREFACE + frame(4, 0, 0, b"")):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(said)
            quiet.append(connection)
        for connection in quiet:
            assert closes(connection, 30)


def test_connections_over_the_limit_are_closed(server: Server) -> None:
    callers = []
    try:
        for _ in range(40):
            caller = RawCaller(server[0])
            caller.events(0.05)
            callers.append(caller)
        time.sleep(1)
        for caller in callers:
            caller.events(0.01)
        assert sum(caller.closed for caller in callers) >= 40 - 32
    finally:
        for caller in callers:
            caller.socket.close()
        time.sleep(0.5)


def test_rapid_reset_keeps_the_connection(server: Server) -> None:
    """CVE-2023-44487: streams are opened and reset as fast as possible."""
    with RawCaller(server[0]) as caller:
        for number in range(400):
            for _ in range(50):
                stream = caller.start(GENERATE, (TOKEN,))
                caller.h2.reset_stream(stream)
            caller.flush()
            if number % 100 == 0:
                assert answers(server[0])
        caller.all_events(1)
        assert not caller.closed


def test_streams_over_the_limit_are_refused(server: Server) -> None:
    streams = 2000
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        assert caller.h2.remote_settings.max_concurrent_streams == STREAMS
        caller.h2.remote_settings[3] = 2**31 - 1  # SETTINGS_MAX_CONCURRENT_STREAMS: ignore it.
        caller.h2.remote_settings.acknowledge()
        for _ in range(streams):
            caller.start(STREAM, (TOKEN,))
        caller.flush()
        resets = Counter(
            event.error_code for event in caller.all_events(4) if isinstance(event, StreamReset)
        )
    # On a slow machine, the first streams may end before the last ones arrive.
    assert resets[ErrorCodes.REFUSED_STREAM] >= streams - 2 * STREAMS


def test_metadata_over_the_limit_is_refused(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        caller.events(0.5)  # Acknowledges the server's settings. Its limits apply from then on.
        caller.start(CHECK, (("x-large", "a" * 20_000),), end=True)
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_endless_headers_are_not_buffered(server: Server) -> None:
    """CVE-2024-27316: an endless header block of CONTINUATION frames."""
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        _endless_headers(caller, 500 * MEBIBYTE)
        caller.all_events(1)


def test_endless_headers_before_the_settings_acknowledgement(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        _endless_headers(caller, 500 * MEBIBYTE)
        assert caller.wait_closed(SETTINGS_SECONDS + SLACK_SECONDS)


def test_large_metadata_before_the_settings_acknowledgement(server: Server) -> None:
    """grpc-core buffers it until the block ends. The settings timeout limits how long."""
    with RawCaller(server[0]) as caller:
        caller.write(frame(1, 0, 1, b"\x83\x86\x44\x04/a/b"))
        for number in range(52 * MEBIBYTE // 1024):
            caller.write(frame(9, 0, 1, field(b"x%07d" % number, 1024)))
        caller.write(frame(9, 4, 1, field(b"last", 127)))
        assert caller.wait_closed(SETTINGS_SECONDS + SLACK_SECONDS)


def _endless_headers(caller: RawCaller, size: int) -> None:
    caller.write(frame(1, 0, 1, b"\x83\x86\x44\x04/a/b"))
    more = frame(9, 0, 1, field(b"x", 1024)) * 64
    for _ in range(size // len(more)):
        caller.write(more)
        if caller.closed:
            break


def test_ping_flood_closes_the_connection(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        for _ in range(10_000):
            caller.write(frame(6, 0, 0, b"12345678"))
            if caller.closed:
                break
        caller.events(5)
        assert caller.closed or caller.gone


@pytest.mark.parametrize(
    "what",
    [frame(4, 0, 0, b""), frame(2, 0, 1, b"\0\0\0\0\x10")],
    ids=["SETTINGS", "PRIORITY"],
)
def test_flood_of_settings_or_priorities_is_ignored(server: Server, what: bytes) -> None:
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        for _ in range(1_000):
            caller.write(what * 100)
        # The connection still works.
        caller.message(caller.start(CHECK), b"")
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.OK.value[0]


def test_endless_empty_data_closes_the_connection(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        stream = caller.start(GENERATE, (TOKEN,))
        caller.flush()
        for _ in range(100_000):
            caller.write(frame(0, 0, stream, b""))
            if caller.closed:
                break
        assert caller.wait_closed(SLACK_SECONDS)


def test_closed_flow_control_windows_do_not_block_other_calls(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            caller = stack.enter_context(RawCaller(server[0]))
            caller.h2.update_settings({4: 0})  # SETTINGS_INITIAL_WINDOW_SIZE
            for _ in range(60):
                stream = caller.start(STREAM, (TOKEN,))
                caller.message(stream, REQUEST.SerializeToString())
            caller.flush()
            caller.events(0.1)
        time.sleep(1)
        assert answers(server[0])


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        PREFACE + b"\xff" * 4096,
        b"\0" * 65536,
    ],
    ids=["HTTP/1.1", "TLS", "frames of garbage", "zeros"],
)
def test_other_protocols_are_disconnected(server: Server, garbage: bytes) -> None:
    host, _, port = server[0].rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(garbage)
        # The handshake timeout is 10 s.
        assert closes(connection, 10 + SLACK_SECONDS)


@pytest.mark.parametrize(
    ("path", "metadata"),
    [
        ("", ()),
        ("/", ()),
        ("GenerateIR", ()),
        ("/genir.v1.IRService/", ()),
        ("/genir.v1.IRService/GenerateIR/", ()),
        ("/genir.v1.IRService/\xff\0", ()),
        ("/genir.v1.Other/X", ()),
        (GENERATE, (("grpc-timeout", "99999999H"),)),
        (GENERATE, (("grpc-timeout", "0n"),)),
        (GENERATE, (("authorization", "\xff\xfe"),)),
        (GENERATE, (("UPPER", "case"),)),
        (GENERATE, ((":path", "/twice"),)),
    ],
)
def test_odd_headers_cause_no_internal_error(
    server: Server, path: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    with RawCaller(server[0]) as caller:
        authorization = () if metadata and metadata[0][0] == "authorization" else (TOKEN,)
        stream = caller.start(path, (*authorization, *metadata))
        with contextlib.suppress(Exception):
            caller.message(stream, REQUEST.SerializeToString())
        caller.flush()
        status = caller.status(3)
    never = {grpc.StatusCode.UNKNOWN.value[0], grpc.StatusCode.INTERNAL.value[0]}
    assert status is None or status[0] not in never, status


@pytest.mark.parametrize(
    "metadata",
    [("grpc-timeout", "nonsense"), ("grpc-encoding", "zip"), ("x-bin", "not base64 !")],
)
def test_unparsable_metadata_never_reaches_the_service(
    server: Server, metadata: tuple[str, str]
) -> None:
    """grpc-core itself answers INTERNAL, without details. No other INTERNAL is expected."""
    with RawCaller(server[0]) as caller:
        caller.start(GENERATE, (TOKEN, metadata), end=True)
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.INTERNAL.value[0]
    assert status[1].startswith(f"Error parsing '{metadata[0]}' metadata")


def test_compressed_message_without_encoding_never_reaches_the_service(
    server: Server,
) -> None:
    with RawCaller(server[0]) as caller:
        stream = caller.start(GENERATE, (TOKEN,))
        caller.h2.send_data(stream, b"\1\0\0\0\2hi", end_stream=True)
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.INTERNAL.value[0]
    assert status[1].startswith("Compression bit set")
