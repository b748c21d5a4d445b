"""Sends messages that cost the server more than they cost the sender.

A process of its own, because making and sending them would hold up the honest callers'
measurements: ``python -m bench.hostile.bombs KIND TARGET TOKEN COUNT``. Prints a status code's name
for each.

| kind | message |
|---|---|
| compressed | small on the wire, and over the server's limit when it is unpacked |
| fields | as many empty fields as fit |
| text | one text as long as fits |
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import grpc

from genir.v1 import generation_pb2, ir_service_pb2

COMPRESSED_BYTES = 5 << 20
"""More than the server's maximum for a message. The server unpacks none, so a larger one would only
cost the attacker's own processor time, which it takes from the server's cores here."""
MESSAGE_BYTES = (4 << 20) - 1_024
"""A little less than that maximum."""
_GENERATE = "/genir.v1.IRService/GenerateIR"
_CALL_SECONDS = 60.0
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class Bomb:
    """A message, the methods that it goes to, one after the other, and its compression."""

    message: bytes
    methods: tuple[str, ...] = (_GENERATE,)
    compression: grpc.Compression = grpc.Compression.NoCompression


def bomb(kind: str) -> Bomb:
    """The message of a kind."""
    if kind == "compressed":
        methods = (_GENERATE, "/grpc.health.v1.Health/Check")
        return Bomb(bytes(COMPRESSED_BYTES), methods, grpc.Compression.Gzip)
    spec = generation_pb2.GenerationSpec(prompt="x" * MESSAGE_BYTES)
    if kind == "fields":
        spec = generation_pb2.GenerationSpec(conversation=generation_pb2.Conversation())
        # The tag of `messages`, and the length of an empty message.
        spec.conversation.MergeFromString(b"\x0a\x00" * (MESSAGE_BYTES // 2))
    return Bomb(ir_service_pb2.GenerateIRRequest(spec=spec).SerializeToString())


def main(kind: str, target: str, token: str, count: int) -> None:
    """Sends the messages one after the other."""
    # Making them must not take the processor from the server, whose cores it shares.
    os.nice(_NICENESS)
    sent = bomb(kind)
    options = (("grpc.max_send_message_length", 2 * COMPRESSED_BYTES),)
    with grpc.insecure_channel(target, options, sent.compression) as channel:
        for number in range(count):
            send: Any = channel.unary_unary(sent.methods[number % len(sent.methods)])
            try:
                send(
                    sent.message,
                    timeout=_CALL_SECONDS,
                    metadata=(("authorization", f"Bearer {token}"),),
                )
            except grpc.RpcError as error:
                code: Any = error
                print(code.code().name, flush=True)
            else:
                print("OK", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
