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


def configuration(
    model: Path | str, dtype: str = "torch.bfloat16", *, moe: bool = False, ranks: int = 1
) -> Any:
    return SimpleNamespace(
        model_config=SimpleNamespace(
            model=str(model), revision=None, is_moe=moe, hf_config=SimpleNamespace(dtype=dtype)
        ),
        parallel_config=SimpleNamespace(
            world_size=1,
            tensor_parallel_size=1,
            pipeline_parallel_size=1,
            data_parallel_size=ranks,
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


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch, resources: ModuleType) -> ModuleType:
    from vllm.platforms import current_platform

    monkeypatch.setattr(type(current_platform), "is_cpu", lambda _: False)
    monkeypatch.setattr(resources, "_device_memory", lambda: 100_000)
    return resources


def test_ranks_share_the_experts_of_a_model(accelerators: ModuleType, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, model__safetensors=450_000)
    assert accelerators.check_resources(configuration(folder, moe=True, ranks=8), {}).devices == 8
    with pytest.raises(EngineStartError, match="weights take"):
        accelerators.check_resources(configuration(folder, ranks=8), {})


def test_weights_of_32_bits_may_take_half(accelerators: ModuleType, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, model__safetensors=150_000)
    assert accelerators.check_resources(configuration(folder, "torch.float32"), {}).weights
    with pytest.raises(EngineStartError, match="weights take"):
        accelerators.check_resources(configuration(folder), {})


def test_memory_that_a_driver_does_not_tell_refuses_nothing(
    accelerators: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, model__safetensors=150_000)
    monkeypatch.setattr(accelerators, "_device_memory", lambda: None)
    found = accelerators.check_resources(configuration(folder), {})
    assert "an unknown amount of memory" in found.lines()["memory"]


def test_copies_in_folders_of_a_repository_do_not_count(
    resources: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    files = [
        SimpleNamespace(rfilename=name, size=400)
        for name in ("model.safetensors", "original/model.safetensors", "metal/model.bin")
    ]
    about = SimpleNamespace(siblings=files)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: about)
    assert resources.check_resources(configuration("owner/no-such-model"), {}).weights == 400


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
