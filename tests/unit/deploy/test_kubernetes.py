"""The manifests are valid and consistent with each other, the server and its image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest

from genir_server import app
from genir_server.engine.protocol import END_SECONDS
from genir_server.observability.telemetry import TRACE_FLUSH_SECONDS
from genir_server.supervision.shutdown import CUT_OFF_GRACE_SECONDS
from genir_server.transport.server import LIVENESS, READINESS
from scripts.metrics_table import exposed_name, metric_families
from tests.support.manifest_settings import settings_of
from tests.support.manifests import (
    KUBERNETES,
    MULTINODE,
    OVERLAYS,
    PLAIN,
    SECURE,
    Manifest,
    container,
    environment,
    pod,
    render,
    rendered,
    the,
    with_components,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCS = Path(__file__).parents[3] / "docs"
DOCKERFILE = (Path(__file__).parents[3] / "Dockerfile").read_text()
# The newest and the oldest version that the manifests are for; see docs/operations.md.
KUBERNETES_VERSIONS = ("1.37", "1.30")
# Kinds that others define. Kubernetes has no schema of them.
FOREIGN_KINDS = {"ServiceMonitor", "LeaderWorkerSet"}

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def validate(manifests: Iterable[Manifest], version: str) -> set[str]:
    """Validates everything that Kubernetes has a schema for. Returns the kinds."""
    kinds = set()
    for manifest in manifests:
        kinds.add(manifest["kind"])
        if manifest["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(manifest, version, strict=True)
    return kinds


@every_overlay
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_resource_is_valid(overlay: str, version: str) -> None:
    kinds = validate(rendered(overlay), version)
    workload = "LeaderWorkerSet" if overlay == MULTINODE else "Deployment"
    assert kinds >= {workload, "Service", "PodDisruptionBudget", "NetworkPolicy"}


def test_validation_is_strict() -> None:
    manifest = the("Deployment", "cpu")
    misspelt = {**manifest, "spec": {**manifest["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(misspelt, KUBERNETES_VERSIONS[0], strict=True)


def test_oldest_version_is_documented_and_needed() -> None:
    """The preStop hook sleeps, which older versions do not know."""
    operations = (DOCS / "operations.md").read_text()
    assert f"Kubernetes {KUBERNETES_VERSIONS[1]} or newer" in operations
    with pytest.raises(kubernetes_validate.ValidationError, match="sleep"):
        kubernetes_validate.validate(the("Deployment", "cpu"), "1.28", strict=True)


@every_overlay
def test_overlays_need_nothing_that_is_installed_apart(overlay: str) -> None:
    """Monitoring and autoscaling are components that an operator adds."""
    needs = {"LeaderWorkerSet"} if overlay == MULTINODE else set()
    apart = FOREIGN_KINDS | {"HorizontalPodAutoscaler"}
    assert {each["kind"] for each in rendered(overlay)} & apart == needs


@every_overlay
def test_environment_contains_valid_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(container(overlay), monkeypatch)
    ports = {port["name"]: port["containerPort"] for port in container(overlay)["ports"]}
    wanted = {"grpc": settings.port, "metrics": settings.metrics_port}
    if settings.health_port is not None:
        wanted["health"] = settings.health_port
    assert ports == wanted
    assert not pod(overlay)["spec"]["enableServiceLinks"]


@pytest.mark.parametrize("overlay", SECURE)
def test_secure_overlays_have_tls_callers_and_a_port_for_probes(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(container(overlay), monkeypatch)
    assert not settings.allow_insecure
    mounts = {mount["mountPath"]: mount for mount in container(overlay)["volumeMounts"]}
    secrets = {
        volume["name"]: volume["secret"]["secretName"]
        for volume in pod(overlay)["spec"]["volumes"]
        if "secret" in volume
    }
    files = {"genir-tls": settings.tls_cert, "genir-callers": settings.auth_file}
    for secret, file in files.items():
        assert file is not None
        mount = mounts[str(file.parent)]
        assert mount["readOnly"] is True
        assert secrets[mount["name"]] == secret
    assert settings.tls_key is not None
    assert settings.tls_key.parent == (settings.tls_cert or Path()).parent
    (port,) = (each for each in the("Service", overlay)["spec"]["ports"] if each["name"] == "grpc")
    assert port["appProtocol"] == "https"


@pytest.mark.parametrize("overlay", PLAIN)
def test_plain_overlays_say_so(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(container(overlay), monkeypatch).allow_insecure


@every_overlay
def test_probes_use_service_names_of_the_server(overlay: str) -> None:
    server, variables = container(overlay), environment(overlay)
    port = int(variables.get("GENIR_HEALTH_PORT", variables["GENIR_PORT"]))
    for probe, name in (
        ("startupProbe", LIVENESS),
        ("livenessProbe", LIVENESS),
        ("readinessProbe", READINESS),
    ):
        assert server[probe]["grpc"] == {"port": port, "service": name}
        assert server[probe]["timeoutSeconds"] <= server[probe]["periodSeconds"]


@every_overlay
def test_calls_may_take_their_default_deadline_while_a_pod_stops(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(container(overlay), monkeypatch)
    assert settings.drain_timeout >= settings.default_deadline
    needed = (
        container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
        + settings.lame_duck
        + settings.drain_timeout
        + END_SECONDS
        + TRACE_FLUSH_SECONDS
        + CUT_OFF_GRACE_SECONDS
        + 3 * app._TRANSPORT_GRACE_SECONDS
    )
    grace = pod(overlay)["spec"]["terminationGracePeriodSeconds"]
    assert grace > needed
    pages = {name: (DOCS / name).read_text() for name in ("gpu.md", "operations.md")}
    assert all(f"| grace period | {grace} s" in page for page in pages.values())
    assert f"--stop-timeout {grace}" in (DOCS / "containers.md").read_text()


@every_overlay
def test_pod_runs_with_minimal_privileges(overlay: str) -> None:
    spec, server = pod(overlay)["spec"], container(overlay)
    users = set(re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE))
    security = spec["securityContext"]
    assert users == {(str(security["runAsUser"]), str(security["runAsGroup"]))}
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    assert set(mounted.values()) == {volume["name"] for volume in spec["volumes"]}
    assert all(len(volume) == 2 for volume in spec["volumes"]), "one kind of volume each"
    assert {"cpu", "memory"} <= set(server["resources"]["requests"])
    assert "memory" in server["resources"]["limits"]
    assert the("Namespace", overlay)["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }


@pytest.mark.parametrize("overlay", ["cpu", "secure"])
def test_what_the_server_writes_to_is_mounted(overlay: str) -> None:
    """The root is read-only: the image's volumes, and folders that Python and torch write to."""
    writable = {
        mount["mountPath"]
        for mount in container(overlay)["volumeMounts"]
        if not mount.get("readOnly")
    }
    declared = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    assert writable == {*declared, "/tmp", "/dev/shm"}  # noqa: S108 - where they are mounted.


@every_overlay
def test_selectors_match_the_pods_and_ports_exist(overlay: str) -> None:
    labels = pod(overlay)["metadata"]["labels"].items()
    service = the("Service", overlay)
    selectors = [
        service["spec"]["selector"],
        the("PodDisruptionBudget", overlay)["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy", overlay, "genir")["spec"]["podSelector"]["matchLabels"],
    ]
    if overlay != MULTINODE:
        selectors.append(the("Deployment", overlay)["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    assert service["spec"]["clusterIP"] == "None"
    # Probes come from the node, not through the Service, and no policy keeps them out.
    ports = {port["name"] for port in container(overlay)["ports"]} - {"health"}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    ingress = the("NetworkPolicy", overlay, "genir")["spec"]["ingress"]
    callers = ingress[0]["from"][0]["podSelector"]
    assert callers["matchLabels"].keys().isdisjoint(dict(labels))
    assert {port["port"] for rule in ingress for port in rule["ports"]} == ports


@every_overlay
def test_server_may_open_no_connections(overlay: str) -> None:
    policy = the("NetworkPolicy", overlay, "genir")["spec"]
    assert policy["egress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def added(kind: str, component: str, overlay: str, folder: Path) -> dict[str, Any]:
    manifests = with_components(overlay, [component], folder)
    validate(manifests, KUBERNETES_VERSIONS[0])
    (found,) = (each for each in manifests if each["kind"] == kind)
    return found


@pytest.mark.parametrize("overlay", [each for each in OVERLAYS if each != MULTINODE])
def test_autoscaler_reads_an_existing_metric_and_sets_the_number_of_pods(
    overlay: str, tmp_path: Path
) -> None:
    scaler = added("HorizontalPodAutoscaler", "autoscaling", overlay, tmp_path)["spec"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] in {
        exposed_name(family) for family in metric_families()
    }
    deployment = added("Deployment", "autoscaling", overlay, tmp_path)
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert the("Deployment", "cpu")["spec"]["replicas"] > 1


def test_autoscaler_waits_for_the_model_of_the_last_pod(tmp_path: Path) -> None:
    scaler = added("HorizontalPodAutoscaler", "autoscaling", "gpu-480b", tmp_path)["spec"]
    for direction in ("scaleUp", "scaleDown"):
        (policy,) = scaler["behavior"][direction]["policies"]
        # The most that Kubernetes allows.
        assert (policy["value"], policy["periodSeconds"]) == (1, 1800)
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 1800


@every_overlay
def test_monitor_scrapes_the_service(overlay: str, tmp_path: Path) -> None:
    monitor = added("ServiceMonitor", "monitoring", overlay, tmp_path)["spec"]
    service = the("Service", overlay)
    selector = monitor["selector"]["matchLabels"]
    assert selector
    assert selector.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert set(endpoint) <= {"port", "path", "interval", "scrapeTimeout"}
    # The alerts expect this job, which the operator names after the Service.
    assert service["metadata"]["name"] == "genir"


def test_download_of_weights_is_valid_and_fills_the_claim_of_the_servers() -> None:
    manifests = render(KUBERNETES / "weights")
    for version in KUBERNETES_VERSIONS:
        validate(manifests, version)
    named = {each["kind"]: each for each in manifests}
    claim = named["PersistentVolumeClaim"]["metadata"]["name"]
    template = named["Job"]["spec"]["template"]
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": claim}} in template["spec"][
        "volumes"
    ]
    for overlay in (each for each in OVERLAYS if each.startswith("gpu")):
        (weights,) = (v for v in pod(overlay)["spec"]["volumes"] if v["name"] == "weights")
        assert weights["persistentVolumeClaim"] == {"claimName": claim, "readOnly": True}
    policy = named["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    opened = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert opened == {53, 443}
