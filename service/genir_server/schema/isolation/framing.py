"""Frames over pipes and sockets: four bytes of length, big-endian, then the body."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_LENGTH_BYTES = 4


def frame(body: bytes) -> bytes:
    """The body with its length in front."""
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def write_frame(stream: IO[bytes], body: bytes) -> None:
    """Sends one frame and flushes the stream."""
    stream.write(frame(body))
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The body of the next frame; None when the stream has ended."""
    length = stream.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    return stream.read(int.from_bytes(length, "big"))


async def read_frame_async(stream: asyncio.StreamReader) -> bytes:
    """The body of the next frame.

    Raises:
        asyncio.IncompleteReadError: the stream ended before or inside the frame.

    """
    length = await stream.readexactly(_LENGTH_BYTES)
    return await stream.readexactly(int.from_bytes(length, "big"))
