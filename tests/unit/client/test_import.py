"""Importing the client is light."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

HEAVY = ("torch", "vllm", "transformers", "numpy", "pydantic", "jsonschema", "genir_server")


@pytest.mark.parametrize("module", ["genir", "genir.cli", "genir.cli.app"])
def test_no_engine_and_no_pydantic_is_imported(module: str) -> None:
    program = (
        f"import sys, {module}; "
        f"print([m for m in {HEAVY!r} if m in sys.modules], 'genir' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[] True"


def test_version_is_that_of_the_distribution() -> None:
    import genir

    assert genir.__version__ == metadata.version("genir")


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("genir").joinpath("py.typed").is_file()
