"""The manifests in deploy/kubernetes, rendered as by `kubectl apply -k`."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
PLAIN = ("cpu",)
GPU_DEPLOYMENTS = ("gpu-1", "gpu-80b", "gpu-480b")
MULTINODE = "gpu-multinode"
GPU = (*GPU_DEPLOYMENTS, MULTINODE)
SECURE = ("secure", *GPU)
OVERLAYS = (*PLAIN, *SECURE)

Manifest = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Every resource of an overlay."""
    return render(KUBERNETES / "overlays" / overlay)


def render(folder: Path) -> tuple[Manifest, ...]:
    """Every resource of a folder with a kustomization."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=True
    )
    return tuple(yaml.safe_load_all(done.stdout))


def with_components(overlay: str, components: Sequence[str], folder: Path) -> tuple[Manifest, ...]:
    """Every resource of an overlay with more components.

    Args:
        overlay: name of the overlay.
        components: names of the components.
        folder: where to write the kustomization that combines them.
    """

    def relative(kind: str, name: str) -> str:
        return os.path.relpath(KUBERNETES / kind / name, folder.resolve())

    kustomization = {
        "resources": [relative("overlays", overlay)],
        "components": [relative("components", name) for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def the(kind: str, overlay: str, name: str = "") -> Manifest:
    """The only resource of that kind, or of that kind and name."""
    (found,) = (
        each
        for each in rendered(overlay)
        if each["kind"] == kind and name in ("", each["metadata"]["name"])
    )
    return found


def pod(overlay: str) -> Manifest:
    """The template of the pods with a server."""
    template: Manifest
    if overlay == MULTINODE:
        template = the("LeaderWorkerSet", overlay)["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
    else:
        template = the("Deployment", overlay)["spec"]["template"]
    return template


def node_pod() -> Manifest:
    """The template of the pods with the rest of a model that spans several nodes."""
    group = the("LeaderWorkerSet", MULTINODE)["spec"]["leaderWorkerTemplate"]
    template: Manifest = group["workerTemplate"]
    return template


def container(overlay: str) -> Manifest:
    """The only container of the pod with a server."""
    return only_container(pod(overlay))


def only_container(template: Manifest) -> Manifest:
    """The only container of a pod's template."""
    (found,) = template["spec"]["containers"]
    manifest: Manifest = found
    return manifest


def environment(overlay: str) -> dict[str, str]:
    """The variables of the container with a server."""
    return variables(container(overlay))


def variables(container: Manifest) -> dict[str, str]:
    """The variables of a container."""
    return {each["name"]: each["value"] for each in container["env"]}
