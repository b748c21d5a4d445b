"""Reads streams and records when each message arrived."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from genir.v1 import generation_pb2, ir_service_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

METHOD = "/genir.v1.IRService/StreamIR"
CHANNELS = 4


@dataclass(slots=True)
class StreamLog:
    """The messages of one call: arrival time (monotonic) and bytes of each."""

    times: list[float] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)


def summarize(
    logs: Sequence[StreamLog], since: float, until: float
) -> tuple[int, int, list[float]]:
    """Tokens received between two moments, their messages, and the gaps in seconds.

    A gap is the time between a message with text and the previous message of its stream.
    """
    tokens = messages = 0
    gaps = []
    for log in logs:
        before: float | None = None
        for moment, message in zip(log.times, log.messages, strict=True):
            event = ir_service_pb2.StreamIRResponse.FromString(message)
            if not event.HasField("text_delta"):
                continue
            if since <= moment < until:
                tokens += event.text_delta.token_count
                messages += 1
                if before is not None:
                    gaps.append(moment - before)
            before = moment
    return tokens, messages, gaps


async def keep_streaming(
    target: str, streams: int, seconds: float, tokens_per_delta: int
) -> list[StreamLog]:
    """Keeps a number of streams running for a time. Each call is followed by the next at once.

    Messages are not decoded on arrival, so that the caller is not the bottleneck.
    """
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(target, options) for _ in range(CHANNELS)]
    spec = generation_pb2.GenerationSpec(
        prompt="Play.",
        schema_in_prompt=generation_pb2.SCHEMA_IN_PROMPT_NEVER,
        max_tokens=4096,
        max_attempts=1,
    )
    request = ir_service_pb2.StreamIRRequest(
        spec=spec, tokens_per_delta=tokens_per_delta
    ).SerializeToString()
    until = time.monotonic() + seconds
    logs: list[StreamLog] = []

    async def one(number: int) -> None:
        # Spread the starts over a second, so that streams do not begin and end together.
        await asyncio.sleep(number / streams)
        method: Any = channels[number % CHANNELS].unary_stream(METHOD)
        while time.monotonic() < until:
            log = StreamLog()
            logs.append(log)
            call = method(request)
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    while (message := await call.read()) is not grpc.aio.EOF:
                        log.times.append(time.monotonic())
                        log.messages.append(message)
            except TimeoutError:
                call.cancel()

    await asyncio.gather(*map(one, range(streams)))
    for channel in channels:
        await channel.close()
    return logs
