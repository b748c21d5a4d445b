"""Sends liveness probes all the time: ``python -m bench.hostile.probes TARGET``.

A process of its own, as the kubelet is: in the process of the attackers, a probe would also wait
for their work. For each probe it prints the seconds that it took and the status that it got.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_SECONDS = 0.05
_TIMEOUT = 10.0
_CONNECT_SECONDS = 60.0


def main(target: str) -> None:
    """Sends probes until the process is killed."""
    request = health_pb2.HealthCheckRequest(service="liveness")
    with grpc.insecure_channel(target) as channel:
        grpc.channel_ready_future(channel).result(_CONNECT_SECONDS)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        while True:
            began = time.monotonic()
            try:
                number = stub.Check(request, timeout=_TIMEOUT).status
                status = health_pb2.HealthCheckResponse.ServingStatus.Name(number)
            except grpc.RpcError as error:
                status = error.code().name
            took = time.monotonic() - began
            print(f"{took:.6f} {status}", flush=True)
            time.sleep(max(0.0, PROBE_SECONDS - took))


if __name__ == "__main__":
    main(sys.argv[1])
