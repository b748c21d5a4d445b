"""Sends messages that are small on the wire and large when they are unpacked.

A process of its own, because compressing them would hold up the honest callers' measurements:
``python -m bench.hostile.bombs TARGET TOKEN COUNT``. Prints a status code's name for each.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc

BOMB_BYTES = 17 << 20
"""More than the server's maximum for a message."""
_METHODS = ("/genir.v1.IRService/GenerateIR", "/grpc.health.v1.Health/Check")
_CALL_SECONDS = 60.0


def main(target: str, token: str, count: int) -> None:
    """Sends the messages one after the other."""
    options = (("grpc.max_send_message_length", 2 * BOMB_BYTES),)
    with grpc.insecure_channel(target, options, grpc.Compression.Gzip) as channel:
        for number in range(count):
            send: Any = channel.unary_unary(_METHODS[number % len(_METHODS)])
            try:
                send(
                    bytes(BOMB_BYTES),
                    timeout=_CALL_SECONDS,
                    metadata=(("authorization", f"Bearer {token}"),),
                )
            except grpc.RpcError as error:
                code: Any = error
                print(code.code().name, flush=True)
            else:
                print("OK", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
