"""The manifests for GPUs: resources, volumes, rollouts, and a model over several nodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from genir_server.engine.vllm.processes import RELEASE_SECONDS
from tests.support.manifest_settings import GROUP, settings_of
from tests.support.manifests import (
    GPU,
    GPU_DEPLOYMENTS,
    MULTINODE,
    container,
    environment,
    node_pod,
    only_container,
    pod,
    the,
    variables,
)

PROJECT = Path(__file__).parents[3]
GPU_PAGE = (PROJECT / "docs" / "gpu.md").read_text()
# The default of --start-timeout.
START_SECONDS = 3600
GIBIBYTE = re.compile(r"(\d+)Gi")

every_gpu_overlay = pytest.mark.parametrize("overlay", GPU)


def gibibytes(amount: str) -> int:
    found = GIBIBYTE.fullmatch(amount)
    assert found, amount
    return int(found[1])


def volumes(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in template["spec"]["volumes"]}


def engine_args(overlay: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return settings_of(container(overlay), monkeypatch).engine_args


@every_gpu_overlay
def test_pods_go_to_nodes_with_gpus(overlay: str) -> None:
    spec = pod(overlay)["spec"]
    assert spec["runtimeClassName"] == "nvidia"
    assert all(label.startswith("nvidia.com/gpu.") for label in spec["nodeSelector"])
    assert spec["nodeSelector"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec[
        "tolerations"
    ]
    assert environment(overlay)["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert container(overlay)["image"] == "genir:gpu"


@every_gpu_overlay
def test_gpus_are_as_many_as_the_model_is_split_into(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = engine_args(overlay, monkeypatch)
    ranks = 1
    for kind in ("tensor", "pipeline", "data"):
        ranks *= arguments.get(f"{kind}_parallel_size", 1)
    resources = container(overlay)["resources"]
    gpus = int(resources["limits"]["nvidia.com/gpu"])
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"]
    assert gpus * arguments.get("nnodes", 1) == ranks
    assert int(resources["requests"]["cpu"]) >= gpus + 4


@every_gpu_overlay
def test_memory_is_reserved_and_holds_the_shared_memory(overlay: str) -> None:
    resources = container(overlay)["resources"]
    memory = gibibytes(resources["limits"]["memory"])
    assert gibibytes(resources["requests"]["memory"]) == memory
    shared = volumes(pod(overlay))["shared-memory"]["emptyDir"]
    assert shared["medium"] == "Memory"
    gpus = int(resources["limits"]["nvidia.com/gpu"])
    assert 2 * gpus <= gibibytes(shared["sizeLimit"]) <= memory / 4
    # An engine process for each GPU, besides server, workers and shared memory.
    assert memory >= 8 * gpus + gibibytes(shared["sizeLimit"]) + 8


@every_gpu_overlay
def test_weights_are_read_only_and_caches_on_the_nodes_disk(overlay: str) -> None:
    mounts = {mount["mountPath"]: mount for mount in container(overlay)["volumeMounts"]}
    assert mounts["/weights"]["readOnly"] is True
    assert environment(overlay)["GENIR_MODEL"].startswith("/weights/")
    assert environment(overlay)["HF_HUB_OFFLINE"] == "1"
    cache = volumes(pod(overlay))[mounts["/cache"]["name"]]
    assert set(cache["emptyDir"]) == {"sizeLimit"}
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    assert writable == {"/cache", "/tmp", "/dev/shm"}  # noqa: S108 - where they are mounted.


@pytest.mark.parametrize("overlay", GPU_DEPLOYMENTS)
def test_rollouts_need_no_spare_gpus_and_outlast_drain_and_load(overlay: str) -> None:
    spec = the("Deployment", overlay)["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert spec["progressDeadlineSeconds"] >= grace + START_SECONDS


@every_gpu_overlay
def test_engine_may_load_for_an_hour(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server gives vLLM the same limit.
    assert "VLLM_ENGINE_READY_TIMEOUT_S" not in environment(overlay)
    assert settings_of(container(overlay), monkeypatch).start_timeout >= START_SECONDS


@every_gpu_overlay
def test_page_shows_the_numbers_of_the_overlay(overlay: str) -> None:
    """The table in docs/gpu.md says where each number comes from."""
    header, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in GPU_PAGE.splitlines()
        if re.match(r"\| (number \| `|(GPUs|processors|memory|shared memory) \| \d)", line)
    )
    column = header.index(f"`{overlay}`")
    resources = container(overlay)["resources"]
    shown = {row[0]: row[column] for row in rows}
    assert shown["GPUs"] == resources["limits"]["nvidia.com/gpu"]
    assert shown["processors"] == resources["requests"]["cpu"]
    assert shown["memory"] == resources["limits"]["memory"]
    assert shown["shared memory"] == volumes(pod(overlay))["shared-memory"]["emptyDir"]["sizeLimit"]


# Only the fields that the overlay uses: a field of another name is a mistake.
GROUP_FIELDS = {
    "": {"replicas", "rolloutStrategy", "startupPolicy", "leaderWorkerTemplate"},
    "rolloutStrategy": {"type", "rollingUpdateConfiguration"},
    "leaderWorkerTemplate": {"size", "restartPolicy", "leaderTemplate", "workerTemplate"},
}


def group() -> dict[str, Any]:
    spec: dict[str, Any] = the("LeaderWorkerSet", MULTINODE)["spec"]
    return spec


def test_group_has_only_known_fields_and_valid_pods() -> None:
    assert the("LeaderWorkerSet", MULTINODE)["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    for name, fields in GROUP_FIELDS.items():
        assert set(group()[name] if name else group()) == fields
    for template in (pod(MULTINODE), node_pod()):
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x", **template["metadata"]},
            "spec": template["spec"],
        }
        kubernetes_validate.validate(manifest, "1.37", strict=True)
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_group_is_made_again_as_a_whole_and_needs_no_spare_nodes() -> None:
    assert group()["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert group()["rolloutStrategy"]["rollingUpdateConfiguration"] == {
        "maxSurge": 0,
        "maxUnavailable": 1,
    }
    assert environment(MULTINODE)["GENIR_ON_ENGINE_DEATH"] == "exit"
    # LeaderWorkerSet makes a headless Service of its own name.
    assert the("LeaderWorkerSet", MULTINODE)["metadata"]["name"] != "genir"


def test_both_pods_of_a_group_have_the_same_model_and_rank_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader, node = container(MULTINODE), only_container(node_pod())
    assert node["command"] == ["genir", "node"]
    assert "command" not in leader
    assert node["args"] == leader["args"]
    assert node["resources"] == leader["resources"]
    assert variables(node).items() <= variables(leader).items()
    for name in ("GENIR_MODEL", "GENIR_MAX_MODEL_LEN"):
        assert name in variables(node)
    arguments = settings_of(node, monkeypatch).engine_args
    assert arguments["nnodes"] == group()["leaderWorkerTemplate"]["size"]
    assert str(arguments["node_rank"]) == GROUP["LWS_WORKER_INDEX"]
    assert arguments["master_addr"] == GROUP["LWS_LEADER_ADDRESS"]


def test_nodes_of_a_group_are_as_confined_as_the_server() -> None:
    leader, node = pod(MULTINODE)["spec"], node_pod()["spec"]
    for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert node[field] == leader[field]
    assert only_container(node_pod())["securityContext"] == container(MULTINODE)["securityContext"]
    assert leader["runtimeClassName"] == node["runtimeClassName"]
    assert leader["nodeSelector"] == node["nodeSelector"]


def test_node_of_a_group_may_wait_for_the_memory_of_its_gpus() -> None:
    grace = node_pod()["spec"]["terminationGracePeriodSeconds"]
    assert grace > RELEASE_SECONDS
    assert f"of a node {grace} s" in GPU_PAGE


def test_pods_of_a_group_reach_each_other_and_only_the_first_takes_calls() -> None:
    policy = the("NetworkPolicy", MULTINODE, "genir-nodes")["spec"]
    name = the("LeaderWorkerSet", MULTINODE)["metadata"]["name"]
    members = {"matchLabels": {"leaderworkerset.sigs.k8s.io/name": name}}
    assert policy["podSelector"] == members
    assert policy["ingress"] == [{"from": [{"podSelector": members}]}]
    assert policy["egress"][0] == {"to": [{"podSelector": members}]}
    assert {port["port"] for port in policy["egress"][1]["ports"]} == {53}
    node_labels = node_pod()["metadata"]["labels"].items()
    for kind, path in (("Service", "selector"), ("NetworkPolicy", "podSelector")):
        selector = the(kind, MULTINODE, "genir")["spec"][path]
        assert not selector.get("matchLabels", selector).items() <= node_labels
    budget = the("PodDisruptionBudget", MULTINODE)["spec"]["selector"]["matchLabels"]
    assert budget.items() <= node_labels
