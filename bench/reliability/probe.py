"""Probes the standard health service ten times a second, in a separate process.

``python -m bench.reliability.probe TARGET SECONDS`` prints the latencies in seconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

INTERVAL_SECONDS = 0.1


def main() -> None:
    """Probes and prints."""
    target, seconds = sys.argv[1], float(sys.argv[2])
    latencies = []
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="readiness")
        stub.Check(request, timeout=10)
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            stub.Check(request, timeout=10)
            latencies.append(time.monotonic() - began)
            time.sleep(max(0.0, INTERVAL_SECONDS - latencies[-1]))
    print(json.dumps(latencies))


if __name__ == "__main__":
    main()
