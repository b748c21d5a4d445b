"""The manifests are valid and consistent with each other, the server and its image."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
from pydantic_settings import CliApp

from genir_server import app
from genir_server.observability.telemetry import TRACE_FLUSH_SECONDS
from genir_server.settings import ServerSettings
from genir_server.supervision.shutdown import CUT_OFF_GRACE_SECONDS
from genir_server.transport.server import LIVENESS, READINESS
from scripts.metrics_table import exposed_name, metric_families
from tests.support.manifests import OVERLAYS, container, environment, pod, rendered, the

DOCKERFILE = (Path(__file__).parents[3] / "Dockerfile").read_text()
KUBERNETES_VERSION = "1.37"
# A kind of the Prometheus operator, for which Kubernetes has no schema.
FOREIGN_KINDS = {"ServiceMonitor"}

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@every_overlay
def test_every_resource_is_valid(overlay: str) -> None:
    kinds = set()
    for manifest in rendered(overlay):
        kinds.add(manifest["kind"])
        if manifest["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    assert kinds >= {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}


def test_validation_is_strict() -> None:
    manifest = the("Deployment", "cpu")
    misspelt = {**manifest, "spec": {**manifest["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(misspelt, KUBERNETES_VERSION, strict=True)


@every_overlay
def test_environment_contains_valid_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(overlay).items():
        if name.startswith("GENIR_"):
            assert name.removeprefix("GENIR_").lower() in ServerSettings.model_fields, name
            monkeypatch.setenv(name, value)
    settings = CliApp.run(ServerSettings, cli_args=[])
    ports = {port["name"]: port["containerPort"] for port in container(overlay)["ports"]}
    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
    assert not pod(overlay)["spec"]["enableServiceLinks"]


@every_overlay
def test_probes_use_service_names_of_the_server(overlay: str) -> None:
    server = container(overlay)
    for probe, name in (
        ("startupProbe", LIVENESS),
        ("livenessProbe", LIVENESS),
        ("readinessProbe", READINESS),
    ):
        assert server[probe]["grpc"] == {
            "port": int(environment(overlay)["GENIR_PORT"]),
            "service": name,
        }
        assert server[probe]["timeoutSeconds"] <= server[probe]["periodSeconds"]


@every_overlay
def test_grace_period_exceeds_the_drain(overlay: str) -> None:
    needed = (
        container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
        + float(environment(overlay)["GENIR_DRAIN_TIMEOUT"])
        + app._ENGINE_SHUTDOWN_SECONDS
        + TRACE_FLUSH_SECONDS
        + CUT_OFF_GRACE_SECONDS
        + 3 * app._TRANSPORT_GRACE_SECONDS
    )
    assert pod(overlay)["spec"]["terminationGracePeriodSeconds"] > needed


@every_overlay
def test_pod_runs_with_minimal_privileges(overlay: str) -> None:
    spec, server = pod(overlay)["spec"], container(overlay)
    user, group = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == int(user)
    assert spec["securityContext"]["runAsGroup"] == int(group)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # The root is read-only. So the image's volumes, and the folders that Python and torch write to,
    # must be mounted.
    mounted = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    declared = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    assert set(mounted) == {*declared, "/tmp", "/dev/shm"}  # noqa: S108 - where they are mounted.
    assert set(mounted.values()) == {volume["name"] for volume in spec["volumes"]}
    assert all(len(volume) == 2 for volume in spec["volumes"]), "one kind of volume each"
    assert {"cpu", "memory"} <= set(server["resources"]["requests"])
    assert "memory" in server["resources"]["limits"]


@every_overlay
def test_selectors_match_the_pods_and_ports_exist(overlay: str) -> None:
    labels = pod(overlay)["metadata"]["labels"].items()
    service = the("Service", overlay)
    selectors = [
        the("Deployment", overlay)["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        the("PodDisruptionBudget", overlay)["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy", overlay)["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    assert service["spec"]["clusterIP"] == "None"
    ports = {port["name"] for port in container(overlay)["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    callers = the("NetworkPolicy", overlay)["spec"]["ingress"][0]["from"][0]["podSelector"]
    assert callers["matchLabels"].keys().isdisjoint(dict(labels))
    opened = {
        port["port"]
        for rule in the("NetworkPolicy", overlay)["spec"]["ingress"]
        for port in rule["ports"]
    }
    assert opened == ports


def test_autoscaler_reads_an_existing_metric_and_sets_the_number_of_pods() -> None:
    scaler = the("HorizontalPodAutoscaler", "gpu")["spec"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] in {
        exposed_name(family) for family in metric_families()
    }
    assert scaler["scaleTargetRef"]["name"] == the("Deployment", "gpu")["metadata"]["name"]
    assert "replicas" not in the("Deployment", "gpu")["spec"]
    assert the("Deployment", "cpu")["spec"]["replicas"] > 1


def test_monitor_scrapes_the_service() -> None:
    monitor, service = the("ServiceMonitor", "gpu")["spec"], the("Service", "gpu")
    selector = monitor["selector"]["matchLabels"]
    assert selector
    assert selector.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert set(endpoint) <= {"port", "path", "interval", "scrapeTimeout"}
