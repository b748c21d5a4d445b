"""``python -m bench.performance.replay.flood``: replayed streams next to refused calls.

Runs streams at 100 tokens/s with one message per token, without and with a second process that
keeps hundreds of calls in flight that genir refuses because they have no prompt. Shows how much
longer the gaps of the streams become.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from bench.performance.replay.sweep import carry
from genir.v1 import ir_service_pb2, ir_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

PACE = 100.0


@contextmanager
def refused_calls(target: str, at_once: int) -> Iterator[None]:
    """Keeps a number of refused calls in flight, from a separate process."""
    spawned = multiprocessing.get_context("spawn")
    stop = spawned.Event()
    refused = spawned.Value("i", 0)
    began = time.monotonic()
    caller = spawned.Process(target=_keep_calling, args=(target, at_once, stop, refused))
    caller.start()
    try:
        yield
    finally:
        stop.set()
        caller.join(30)
        print(f"  {refused.value / (time.monotonic() - began):.0f} calls refused in a second")


def _keep_calling(target: str, at_once: int, stop: Event, refused: Synchronized[int]) -> None:
    asyncio.run(_call(target, at_once, stop, refused))


async def _call(target: str, at_once: int, stop: Event, refused: Synchronized[int]) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = ir_service_pb2_grpc.IRServiceStub(channel)

        async def one() -> None:
            while not stop.is_set():
                try:
                    await stub.GenerateIR(ir_service_pb2.GenerateIRRequest())
                except grpc.aio.AioRpcError:
                    refused.value += 1

        await asyncio.gather(*(one() for _ in range(at_once)))


def main() -> None:
    """Measures both alternately."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.performance.replay.flood", description=__doc__
    )
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--refused", type=int, default=200, help="refused calls at once")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    for _ in range(arguments.rounds):
        for at_once in (0, arguments.refused):
            carried = carry(
                arguments.streams,
                PACE,
                1,
                arguments.seconds,
                beside=partial(refused_calls, at_once=at_once) if at_once else None,
            )
            print(
                f"{arguments.streams} streams beside {at_once} refused calls at once: "
                f"{carried.tokens_per_second:.0f} tokens/s, "
                f"gap p50 {carried.gap_p50 * 1e3:.1f} ms, p99 {carried.gap_p99 * 1e3:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
