"""What grpc-core, and what surrounds it here, does about abuse of HTTP/2. SECURITY.md lists it.

Each test abuses a server in this process's neighbour, whose memory is looked at all the while, and
then calls it properly.
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
"""What has been read and not yet looked at counts here; less than the most that a test sends."""
MEBIBYTE = 1 << 20
SETTINGS_SECONDS = 5.0
"""How long the server waits for the acknowledgement of its settings."""
SLACK_SECONDS = 10.0
STREAMS = 64
"""How many streams the server allows on a connection."""

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
            # A line for each call comes there, too, and a pipe that is full would stop the server.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()


class MemoryWatch(threading.Thread):
    """The most memory that a process has while this runs."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__()
        self._process = process
        self._over = threading.Event()
        self.before = self.most = process.memory_info().rss

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss)

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.fixture(autouse=True)
def holds_little_and_serves_afterwards(server: Server) -> Iterator[None]:
    target, process = server
    watch = MemoryWatch(process)
    watch.start()
    try:
        yield
    finally:
        watch.stop()
    assert answers(target)
    most = (watch.most - watch.before) / MEBIBYTE
    left = (process.memory_info().rss - watch.before) / MEBIBYTE
    # Shown by `-rP`: the figures of SECURITY.md, of one test at a time.
    print(f"the server's memory grew by {most:.0f} MiB at most, {left:.0f} stay")  # noqa: T201
    assert most < MEMORY_MEANWHILE_MIB
    assert left < MEMORY_MIB


def answers(target: str) -> bool:
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(target, options) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        metadata = (TOKEN,)
        return stub.GenerateIR(REQUEST, timeout=30, metadata=metadata).ir_json == GOOD


def test_a_call_without_a_message_ends(server: Server) -> None:
    for path in (GENERATE, STREAM, CHECK, "/grpc.health.v1.Health/Watch"):
        with RawCaller(server[0]) as caller:
            caller.start(path, (TOKEN,), end=True)
            caller.flush()
            status = caller.status(20)
            assert status is not None, path
            assert status[0] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_a_message_that_never_comes_is_not_waited_for(server: Server) -> None:
    """Slowloris: a caller that is let in opens a call and sends half of a message."""
    with RawCaller(server[0]) as caller:
        stream = caller.start(GENERATE, (TOKEN,))
        caller.h2.send_data(stream, b"\0\0\0\1\0half")
        caller.flush()
        status = caller.status(20)
    assert status is not None
    assert status[0] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_a_stranger_is_answered_before_the_message(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        caller.start(GENERATE)
        caller.flush()
        status = caller.status(20)
    assert status is not None
    assert status[0] == grpc.StatusCode.UNAUTHENTICATED.value[0]


def test_a_connection_that_says_nothing_is_closed(server: Server) -> None:
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


def test_more_connections_than_allowed_are_closed(server: Server) -> None:
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


def test_rapid_reset(server: Server) -> None:
    """CVE-2023-44487: calls that are begun and reset at once, as fast as may be."""
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


def test_more_streams_than_allowed_are_refused(server: Server) -> None:
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
    # On a slow machine the first may have been given up before the last came, and leave room.
    assert resets[ErrorCodes.REFUSED_STREAM] >= streams - 2 * STREAMS


def test_metadata_over_the_limit_is_refused(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        caller.events(0.5)  # Acknowledges the server's settings: from then on its limits count.
        caller.start(CHECK, (("x-large", "a" * 20_000),), end=True)
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_headers_without_end_are_not_kept(server: Server) -> None:
    """CVE-2024-27316: a header block that goes on and on in CONTINUATION frames."""
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        _endless_headers(caller, 500 * MEBIBYTE)
        caller.all_events(1)


def test_headers_without_end_before_the_settings_are_acknowledged(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        _endless_headers(caller, 500 * MEBIBYTE)
        assert caller.wait_closed(SETTINGS_SECONDS + SLACK_SECONDS)


def test_large_metadata_before_the_settings_are_acknowledged(server: Server) -> None:
    """grpc-core stops none of it until the block ends; that it lasts no longer is what helps."""
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


def test_a_flood_of_pings_is_cut_off(server: Server) -> None:
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
def test_a_flood_of_settings_or_priorities_is_ignored(server: Server, what: bytes) -> None:
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        for _ in range(1_000):
            caller.write(what * 100)
        # The same connection goes on being served.
        caller.message(caller.start(CHECK), b"")
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.OK.value[0]


def test_empty_data_without_end_is_cut_off(server: Server) -> None:
    with RawCaller(server[0]) as caller:
        caller.events(0.5)
        stream = caller.start(GENERATE, (TOKEN,))
        caller.flush()
        for _ in range(100_000):
            caller.write(frame(0, 0, stream, b""))
            if caller.closed:
                break
        assert caller.wait_closed(SLACK_SECONDS)


def test_readers_with_a_closed_window_hold_only_their_own(server: Server) -> None:
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
def test_what_is_not_http2_is_dropped(server: Server, garbage: bytes) -> None:
    host, _, port = server[0].rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(garbage)
        # A handshake that does not get on is given 10 s.
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
def test_odd_headers_never_make_a_fault(
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
def test_metadata_that_grpc_cannot_read_never_reaches_the_service(
    server: Server, metadata: tuple[str, str]
) -> None:
    """The one INTERNAL that leaves this server: grpc-core's own, without details."""
    with RawCaller(server[0]) as caller:
        caller.start(GENERATE, (TOKEN, metadata), end=True)
        caller.flush()
        status = caller.status(10)
    assert status is not None
    assert status[0] == grpc.StatusCode.INTERNAL.value[0]
    assert status[1].startswith(f"Error parsing '{metadata[0]}' metadata")


def test_a_compressed_message_without_an_encoding_never_reaches_the_service(
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
