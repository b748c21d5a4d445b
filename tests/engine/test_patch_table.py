"""Every entry of the patch table fits the installed packages."""

from __future__ import annotations

import warnings

import pytest

from genir_server.engine.vllm.environment import prepare_environment
from genir_server.patch_table.fits import misfit
from genir_server.patch_table.table import PATCHES

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


@pytest.mark.parametrize("name", PATCHES)
def test_patch_fits_the_installed_packages(name: str) -> None:
    prepare_environment()
    with warnings.catch_warnings():
        # Importing torch and vLLM raises warnings that only they can fix.
        warnings.simplefilter("ignore")
        assert misfit(PATCHES[name]) == ""
