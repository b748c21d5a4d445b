"""Importing the client is cheap, and the package has a version and types."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

HEAVY = ("torch", "vllm", "transformers", "numpy", "pydantic", "jsonschema", "genir_server")


@pytest.mark.parametrize("module", ["genir", "genir.cli", "genir.cli.app"])
def test_import_loads_neither_engine_nor_pydantic(module: str) -> None:
    program = (
        f"import sys, {module}; "
        f"print([m for m in {HEAVY!r} if m in sys.modules], 'genir' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[] True"


def test_version_is_that_of_the_distribution() -> None:
    import genir

    assert genir.__version__ == metadata.version("genir")


def test_package_is_marked_as_typed() -> None:
    from importlib.resources import files

    assert files("genir").joinpath("py.typed").is_file()
