"""The manifests in deploy/kubernetes, rendered as by `kubectl apply -k`."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu")

Manifest = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Every resource of an overlay."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", KUBERNETES / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(yaml.safe_load_all(done.stdout))


def the(kind: str, overlay: str) -> Manifest:
    """The only resource of that kind."""
    (found,) = (each for each in rendered(overlay) if each["kind"] == kind)
    return found


def pod(overlay: str) -> Manifest:
    """The pod template of the deployment."""
    template: Manifest = the("Deployment", overlay)["spec"]["template"]
    return template


def container(overlay: str) -> Manifest:
    """The only container of the pod."""
    (found,) = pod(overlay)["spec"]["containers"]
    manifest: Manifest = found
    return manifest


def environment(overlay: str) -> dict[str, str]:
    """The variables of the container."""
    return {each["name"]: each["value"] for each in container(overlay)["env"]}
