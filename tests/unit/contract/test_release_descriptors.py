"""The descriptors in proto/releases, which `make lint` compares the contract with."""

from __future__ import annotations

import tomllib
from pathlib import Path

from google.protobuf import descriptor_pb2

from genir.v1 import ir_service_pb2

ROOT = Path(__file__).parents[3]
RELEASES = ROOT / "proto/releases"


def test_the_project_version_has_a_release_descriptor() -> None:
    """Run `make release-descriptor` after raising the version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (RELEASES / f"{project['version']}.binpb").is_file()


def test_every_release_descriptor_has_the_service() -> None:
    for path in RELEASES.glob("*.binpb"):
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        assert ir_service_pb2.DESCRIPTOR.name in {file.name for file in files.file}
