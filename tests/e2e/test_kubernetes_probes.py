"""The probes of the Kubernetes manifest against a server: loading, ready, draining, dead."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from bench.support.server_process import READY_SECONDS, ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import IRClient, RetryPolicy
from tests.support.kubelet import Kubelet
from tests.support.manifests import container, environment, pod

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# A busy machine answers probes late.
SLACK_SECONDS = 10.0
LONG_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 600, "maxLength": 800}},
    "required": ["text"],
    "additionalProperties": False,
}


def test_probes_follow_the_pod_from_load_to_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(make_tiny_model())
    for name, value in environment("cpu").items():
        if name not in ("GENIR_HOST", "GENIR_PORT", "GENIR_METRICS_HOST", "GENIR_METRICS_PORT"):
            monkeypatch.setenv(name, value)
    manifest = container("cpu")
    readiness, liveness = manifest["readinessProbe"], manifest["livenessProbe"]
    grace = pod("cpu")["spec"]["terminationGracePeriodSeconds"]
    pre_stop = manifest["lifecycle"]["preStop"]["sleep"]["seconds"]

    began = time.monotonic()
    server = ServerProcess(tmp_path, ["--model", model])
    try:
        with Kubelet(server.target, manifest) as kubelet:
            # Loading: started and alive at once, ready only with the model.
            ready = kubelet.wait_for(ready=True, seconds=READY_SECONDS)
            (line,) = server.log_lines("ready")
            assert kubelet.state.started_at is not None
            # Alive during most of the loading.
            assert kubelet.state.started_at - began < (ready - began) / 2
            assert line["seconds"] < ready - began
            assert not kubelet.state.restarts_wanted

            # Ready: a call runs when the pod is terminated.
            outcome: list[object] = []

            def call() -> None:
                with IRClient(server.target, retry=RetryPolicy(max_attempts=1)) as client:
                    outcome.append(client.generate("Write.", schema=LONG_SCHEMA, timeout=300))

            # The preStop hook runs first, and the server still serves.
            terminated = time.monotonic()
            time.sleep(pre_stop)
            kubelet.wait_for(ready=True, seconds=SLACK_SECONDS)
            caller = threading.Thread(target=call)
            caller.start()
            with IRClient(server.target) as client:
                while not client.health().activity.running:
                    time.sleep(0.02)
            server.send(signal.SIGTERM)

            # Draining: not ready but alive, so that the kubelet does not restart it.
            told = time.monotonic()
            gone = kubelet.wait_for(ready=False, seconds=60)
            promised = readiness["periodSeconds"] * readiness["failureThreshold"]
            assert gone - told < promised + SLACK_SECONDS
            caller.join()
            assert outcome, "the call in flight was lost"
            assert server.wait(grace) == 0
            ended = time.monotonic()
            assert ended - terminated < grace
            assert all(
                at >= ended - liveness["timeoutSeconds"] for at, _ in kubelet.state.restarts_wanted
            )

            # Dead: liveness fails after its own threshold.
            dead = kubelet.wait_for_restart(
                liveness["periodSeconds"] * (liveness["failureThreshold"] + 1) + SLACK_SECONDS
            )
            assert dead > ended - liveness["timeoutSeconds"]
            assert not kubelet.state.ready
    finally:
        server.close()
