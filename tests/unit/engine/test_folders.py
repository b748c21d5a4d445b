"""A missing folder is told before vLLM is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genir_server.engine.config import EngineConfig
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm import start

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose plan was made: only then is vLLM imported."""
    models: list[str] = []
    monkeypatch.setattr(start, "make_plan", lambda _, model: models.append(model))
    return models


@pytest.mark.parametrize("files", [(), ("config.json",), ("config.json", "weights.bin")])
async def test_folders_that_are_there_are_left_to_vllm(
    planned: list[str], tmp_path: Path, files: tuple[str, ...]
) -> None:
    for file in files:
        (tmp_path / file).touch()
    adapters = {}
    for name, weights in (("a", "adapter_model.safetensors"), ("b", "adapter_model.bin")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").touch()
        (folder / weights).touch()
        adapters[name] = str(folder)
    await start.plan_of(EngineConfig(model=str(tmp_path), lora_adapters=adapters))
    await start.plan_of(EngineConfig(model="owner/name"))
    assert planned == [str(tmp_path), "owner/name"]


async def test_missing_model_is_named(planned: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "no-model"
    with pytest.raises(EngineStartError, match=f"^the model folder {missing} does not exist$"):
        await start.plan_of(EngineConfig(model=str(missing)))
    assert planned == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "the LoRA adapter mine is not at .*/adapter: no adapter_config.json there"),
        (["adapter_config.json"], "the LoRA adapter mine has no weights: no adapter_model"),
    ],
)
async def test_adapter_that_is_not_there_is_named(
    planned: list[str], tmp_path: Path, files: list[str], said: str
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for file in files:
        (folder / file).touch()
    for model in (None, str(tmp_path)):
        with pytest.raises(EngineStartError, match=said):
            await start.plan_of(EngineConfig(model=model, lora_adapters={"mine": str(folder)}))
    assert planned == []
