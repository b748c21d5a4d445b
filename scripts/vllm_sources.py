"""Finds the Python sources of vLLM: of the installed version, or of another from the registry."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_PLATFORM = "manylinux_2_28_x86_64"
_CACHE = Path(__file__).parents[1] / "build"


def installed() -> Path:
    """The folder of the installed package, without importing it.

    Raises:
        ModuleNotFoundError: vLLM is not installed.

    """
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("vllm is not installed", name="vllm")
    return Path(spec.origin).parent


def downloaded(version: str) -> Path:
    """The folder of the package in a version of vLLM for CUDA, whose sources `build/` keeps.

    The first time it downloads the wheel with pip, some 330 MB.

    Raises:
        subprocess.CalledProcessError: pip cannot download the wheel; it has said why.

    """
    folder = _CACHE / f"vllm-{version}"
    if not folder.exists():
        _CACHE.mkdir(exist_ok=True)
        # Beside the folder, so that the last step is a rename: an interrupted run leaves nothing.
        with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
            wheels, sources = Path(temporary, "wheels"), Path(temporary, "sources")
            command = f"pip download --no-deps --only-binary :all: --platform {_PLATFORM} --dest"
            subprocess.run(
                [sys.executable, "-m", *command.split(), str(wheels), f"vllm=={version}"],
                check=True,
            )
            (wheel,) = wheels.iterdir()
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(sources, [n for n in archive.namelist() if n.endswith(".py")])
            sources.rename(folder)
    return folder / "vllm"
