"""A model that cannot fit is refused before it is downloaded or loaded."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.environment import prepare_environment

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm import resources
    monkeypatch.setattr(resources, "_host_memory", lambda: 1_000_000)
    return resources


def configuration(model: Path | str) -> Any:
    return SimpleNamespace(
        model_config=SimpleNamespace(model=str(model), revision=None),
        parallel_config=SimpleNamespace(
            world_size=1,
            tensor_parallel_size=1,
            pipeline_parallel_size=1,
            data_parallel_size=1,
            nnodes=1,
            enable_expert_parallel=False,
        ),
    )


def folder_of(folder: Path, **sizes: int) -> Path:
    for name, size in sizes.items():
        with (folder / name.replace("__", ".")).open("wb") as file:
            file.truncate(size)
    return folder


def test_weights_are_counted_once(resources: ModuleType, tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        model_1__safetensors=300,
        model_2__safetensors=200,
        consolidated__safetensors=500,
        pytorch_model__bin=500,
        config__json=7,
    )
    assert resources.check_resources(configuration(folder), {}).weights == 500


def test_weights_in_mistrals_format_alone_are_counted(
    resources: ModuleType, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, consolidated__safetensors=500)
    assert resources.check_resources(configuration(folder), {}).weights == 500


def test_weights_that_exceed_all_memory_are_refused(resources: ModuleType, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, model__safetensors=1_000_001)
    with pytest.raises(EngineStartError, match=r"weights take .* tensor_parallel_size"):
        resources.check_resources(configuration(folder), {})
    # In memory these may be smaller.
    assert resources.check_resources(configuration(folder), {"quantization": "fp8"}).weights


def test_unknown_sizes_refuse_nothing(resources: ModuleType) -> None:
    found = resources.check_resources(configuration("s3://bucket/model"), {})
    assert found.weights is None
    assert found.lines()["memory"].startswith("unknown for weights")


def test_download_that_does_not_fit_is_refused(
    resources: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_sizes", lambda *_: {"model.safetensors": 900_000})
    monkeypatch.setattr(resources, "_free_disk", lambda: 800_000)
    with pytest.raises(EngineStartError, match=r"have to be downloaded, and .* set HF_HOME"):
        resources.check_resources(configuration("owner/no-such-model"), {})
