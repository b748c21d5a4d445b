"""An HTTP/2 client that sends single frames, for requests that no gRPC library makes."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONNECT_SECONDS = 5.0


class RawCaller:
    """One connection with a lenient HTTP/2 state machine."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), CONNECT_SECONDS)
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True, validate_outbound_headers=False, validate_inbound_headers=False
            )
        )
        self.h2.initiate_connection()
        self.flush()
        self.closed = False
        self.gone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def start(
        self, path: str, metadata: Sequence[tuple[str, str]] = (), *, end: bool = False
    ) -> int:
        """Begins a call. Returns its stream id."""
        stream: int = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        ]
        self.h2.send_headers(stream, headers, end_stream=end)
        return stream

    def message(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """Sends one gRPC message."""
        self.h2.send_data(stream, b"\0" + len(data).to_bytes(4, "big") + data, end_stream=end)

    def flush(self) -> None:
        """Writes pending data. A closed connection is no error."""
        self.write(self.h2.data_to_send())

    def write(self, data: bytes) -> None:
        """Writes raw bytes."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def events(self, seconds: float) -> list[Event]:
        """The events within that time. Returns early when the server closes or a stream ends."""
        found: list[Event] = []
        ends = time.monotonic() + seconds
        while not self.closed and (left := ends - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                break
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                self.closed = True
                break
            try:
                found += self.h2.receive_data(data)
            except ProtocolError:
                # h2 accepts nothing after GOAWAY, not even data received with it.
                self.gone = True
                break
            self.flush()
            self.gone |= any(isinstance(event, ConnectionTerminated) for event in found)
            if any(isinstance(event, StreamEnded | StreamReset) for event in found):
                break
        return found

    def all_events(self, seconds: float) -> list[Event]:
        """All events until none arrives for that time, on all streams."""
        found: list[Event] = []
        while more := self.events(seconds):
            found += more
        return found

    def wait_closed(self, seconds: float) -> bool:
        """Whether the server closes within that time. Sends no reply meanwhile."""
        self.closed = self.closed or closes(self.socket, seconds)
        return self.closed

    def status(self, seconds: float) -> tuple[int, str] | None:
        """The gRPC status and message that arrive within that time."""
        for event in self.events(seconds):
            if isinstance(event, ResponseReceived | TrailersReceived):
                headers = {bytes(name): bytes(value) for name, value in event.headers or ()}
                if b"grpc-status" in headers:
                    return int(headers[b"grpc-status"]), headers.get(b"grpc-message", b"").decode()
        return None


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1) with any content."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def field(name: bytes, size: int) -> bytes:
    """HPACK header field (RFC 7541, section 6.2.2) whose value has `size` bytes, 127 or more."""
    length, left = b"\x7f", size - 127
    while left >= 128:
        length += bytes((left % 128 + 128,))
        left //= 128
    return bytes((0, len(name))) + name + length + bytes((left,)) + b"a" * size


def closes(connection: socket.socket, seconds: float) -> bool:
    """Whether the peer closes within that time. Data before that is discarded."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(1 << 16):
                return True
        except TimeoutError:
            return False
        except ConnectionError:
            return True
    return False
