"""Messages that cannot be read: caller, log and metrics see the same status, without a traceback.

`SECURITY.md` names the two exceptions, in which grpc-core keeps the status to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import zlib
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest
import structlog
from h2.exceptions import StreamClosedError

from genir_server.observability.logging import configure_logging
from tests.support.http2 import RawCaller
from tests.support.in_process_server import GOOD, REQUEST, STREAM_REQUEST, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.in_process_server import Served

MAX_MESSAGE_BYTES = 1 << 16
GENIR = "/genir.v1.IRService/"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
METHODS = (
    *(GENIR + name for name in ("GenerateIR", "StreamIR", "CheckSchema", "Health", "Warmup")),
    *(HEALTH + name for name in ("Check", "Watch")),
    REFLECTION,
)
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
BOMB = b"\x0a" + bytes(32 * MAX_MESSAGE_BYTES)
VALID = REQUEST.SerializeToString()


def framed(data: bytes, *, compressed: bool = False, size: int | None = None) -> bytes:
    """A message as gRPC sends it. `size` replaces its length."""
    length = len(data) if size is None else size
    return bytes((compressed,)) + length.to_bytes(4, "big") + data


class Case(NamedTuple):
    """What is sent, the caller's status, and the logged one if it differs."""

    data: bytes
    status: str
    encoding: str = ""
    logged: str = ""


CASES = {
    "gzip bomb": Case(framed(gzip.compress(BOMB), compressed=True), "INVALID_ARGUMENT", "gzip"),
    "deflate bomb": Case(
        framed(zlib.compress(BOMB), compressed=True), "INVALID_ARGUMENT", "deflate"
    ),
    "valid gzip": Case(framed(gzip.compress(VALID), compressed=True), "INVALID_ARGUMENT", "gzip"),
    "corrupt gzip": Case(framed(b"\x1f\x8b\x08none", compressed=True), "INVALID_ARGUMENT", "gzip"),
    "truncated gzip": Case(
        framed(gzip.compress(VALID)[:-9], compressed=True), "INVALID_ARGUMENT", "gzip"
    ),
    "corrupt deflate": Case(framed(b"\xff\xff", compressed=True), "INVALID_ARGUMENT", "deflate"),
    "oversize": Case(framed(bytes(2 * MAX_MESSAGE_BYTES)), "RESOURCE_EXHAUSTED"),
    "oversize by its length": Case(framed(b"x", size=2**31 - 1), "RESOURCE_EXHAUSTED"),
    "oversize and compressed": Case(
        framed(b"x", size=2**31 - 1, compressed=True), "RESOURCE_EXHAUSTED", "gzip"
    ),
    "truncated": Case(framed(b"half", size=256), "INVALID_ARGUMENT"),
    "half a frame": Case(b"\0\0", "INVALID_ARGUMENT"),
    "nothing": Case(b"", "INVALID_ARGUMENT"),
    "undecodable": Case(framed(b"\xff\xff"), "INVALID_ARGUMENT"),
    # grpc-core sends these two by itself, and tells the server only that it has ended the call.
    "flag without encoding": Case(
        framed(b"hi", compressed=True), "INTERNAL", logged="RESOURCE_EXHAUSTED"
    ),
    "unknown encoding": Case(framed(b"hi"), "INTERNAL", "snappy", logged="CANCELLED"),
}


@pytest.fixture
def log() -> Iterator[StringIO]:
    """Everything that the server logs, as JSON lines."""
    root, http2 = logging.getLogger(), logging.getLogger("hpack")
    handlers, level = root.handlers[:], root.level
    configure_logging("json", "debug")
    http2.setLevel("WARNING")
    written = StringIO()
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    http2.setLevel("NOTSET")
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def status_of(target: str, path: str, case: Case) -> str:
    """Makes the call. Returns the name of its status."""
    with RawCaller(target) as caller:
        caller.events(0.05)
        metadata = (("grpc-encoding", case.encoding),) if case.encoding else ()
        stream = caller.start(path, metadata)
        caller.h2.send_data(stream, case.data[: 1 << 14], end_stream=len(case.data) <= 1 << 14)
        caller.flush()
        # The first part of a long message has its length, which is all that grpc-core needs.
        status = caller.status(10)
        return "none" if status is None else CODES[status[0]]


async def call_lines(log: StringIO, calls: int) -> list[dict[str, object]]:
    """The new lines of that many calls of IRService. Asserts that no line is of an error."""
    for _ in range(500):
        if log.getvalue().count('"genir.call"') >= calls:
            break
        await asyncio.sleep(0.01)
    text = log.getvalue()
    log.seek(0)
    log.truncate()
    assert "Traceback" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["level"] for line in lines} <= {"debug", "info"}, lines
    return [line for line in lines if line["logger"] == "genir.call"]


def targets(served: Served) -> list[tuple[str, str]]:
    """Every method of both ports."""
    return [(served.target, path) for path in METHODS] + [
        (served.health_target, path) for path in METHODS if path.startswith(HEALTH)
    ]


@pytest.mark.parametrize("name", CASES)
async def test_caller_log_and_metrics_see_the_same_status(name: str, log: StringIO) -> None:
    case = CASES[name]
    async with serving(max_message_bytes=MAX_MESSAGE_BYTES) as served:
        for target, path in targets(served):
            # A stream of requests may be empty.
            empty = path == REFLECTION and name in {"truncated", "half a frame", "nothing"}
            expected = "OK" if empty else case.status
            assert await asyncio.to_thread(status_of, target, path, case) == expected, path
            own = path.startswith(GENIR)
            for line in await call_lines(log, int(own)):
                assert line["method"] == path.removeprefix(GENIR)
                assert (line["code"], line["level"]) == (case.logged or expected, "info")
        async with grpc.aio.insecure_channel(served.target) as channel:
            assert (await served.stub(channel).GenerateIR(REQUEST)).ir_json == GOOD


async def test_caller_that_leaves_while_its_message_is_read_is_logged_as_cancelled(
    log: StringIO,
) -> None:
    def leave(target: str, path: str) -> None:
        with RawCaller(target) as caller:
            caller.events(0.05)
            stream = caller.start(path)
            caller.h2.send_data(stream, framed(b"half", size=256))
            caller.flush()
            caller.events(0.1)
            caller.h2.reset_stream(stream)
            caller.flush()
            caller.events(0.1)

    async with serving() as served:
        for target, path in targets(served):
            await asyncio.to_thread(leave, target, path)
            for line in await call_lines(log, int(path.startswith(GENIR))):
                assert line["code"] == "CANCELLED"


async def test_callers_that_leave_while_they_are_answered_cause_no_error(
    log: StringIO,
) -> None:
    def reset_after(target: str, path: str, message: bytes, seconds: float) -> None:
        with RawCaller(target) as caller:
            caller.events(0.05)
            for _ in range(50):
                stream = caller.start(path)
                caller.message(stream, message)
                caller.flush()
                caller.events(seconds)
                # The answer may have come.
                with contextlib.suppress(StreamClosedError):
                    caller.h2.reset_stream(stream)
                caller.flush()

    async with serving() as served:
        for path, message in (
            (GENIR + "GenerateIR", VALID),
            (GENIR + "StreamIR", STREAM_REQUEST.SerializeToString()),
            (HEALTH + "Check", b""),
        ):
            for seconds in (0, 0.0005, 0.001, 0.002):
                await asyncio.to_thread(reset_after, served.target, path, message, seconds)
        for line in await call_lines(log, 0):
            assert line["code"] in {"OK", "CANCELLED"}
