"""LoRA adapters are checked before a model is loaded, and vLLM gets room for all of them."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from bench.support.tiny_model import make_tiny_adapter, make_tiny_model
from genir_server.engine.config import EngineConfig
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.environment import prepare_environment

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from vllm.config import VllmConfig

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


@pytest.fixture(scope="module")
def arguments() -> ModuleType:
    prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm import arguments
    return arguments


@pytest.fixture
def configured(arguments: ModuleType) -> Any:
    def configure(adapters: dict[str, str], **engine_args: object) -> VllmConfig:
        model = str(make_tiny_model())
        config = EngineConfig(model=model, lora_adapters=adapters, engine_args=engine_args)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = arguments.engine_arguments(config, model, on_cpu=True)
            configuration: VllmConfig = arguments.engine_configuration(made, config)
        return configuration

    return configure


@pytest.mark.parametrize(
    ("ranks", "room"), [((8,), 8), ((9,), 16), ((32,), 32), ((4, 33), 64), ((8, 8, 300), 320)]
)
def test_vllm_gets_room_for_every_adapter(
    configured: Any, tmp_path: Path, ranks: tuple[int, ...], room: int
) -> None:
    adapters = {
        f"a{number}": str(make_tiny_adapter(tmp_path / str(number), rank))
        for number, rank in enumerate(ranks)
    }
    lora = configured(adapters).lora_config
    assert (lora.max_lora_rank, lora.max_loras) == (room, len(ranks))
    assert lora.max_cpu_loras >= len(ranks)


def test_operators_room_wins_where_it_suffices(configured: Any, tmp_path: Path) -> None:
    adapters = {"a": str(make_tiny_adapter(tmp_path / "a"))}
    lora = configured(adapters, max_lora_rank=64, max_loras=3).lora_config
    assert (lora.max_lora_rank, lora.max_loras) == (64, 3)


def change(folder: Path, **fields: object) -> str:
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({name: value for name, value in config.items() if value != "-"}))
    return str(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"r": 1024}, "the LoRA adapter mine has rank 1024, but vLLM serves at most 512"),
        ({"r": 8, "rank_pattern": {"q_proj": 600}}, "rank 600, but vLLM serves at most 512"),
        ({"r": 0}, "mine cannot be read: LoRA rank `r` must be a positive integer"),
        ({"r": None}, "mine cannot be read"),
        ({"r": "-"}, "mine cannot be read: Missing required configuration fields"),
        ({"use_dora": True}, "does not support the LoRA adapter mine"),
        ({"bias": "all"}, "does not support the LoRA adapter mine: Adapter bias"),
    ],
)
def test_unfit_adapter_is_named(
    configured: Any, tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    folder = change(make_tiny_adapter(tmp_path / "adapter"), **fields)
    with pytest.raises(EngineStartError) as raised:
        configured({"mine": folder})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "null"])
def test_damaged_configuration_is_named(configured: Any, tmp_path: Path, text: str) -> None:
    folder = make_tiny_adapter(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(EngineStartError, match="the LoRA adapter mine cannot be read"):
        configured({"mine": str(folder)})


def test_room_that_is_too_small_is_named(configured: Any, tmp_path: Path) -> None:
    adapters = {"mine": str(make_tiny_adapter(tmp_path / "a", 32))}
    with pytest.raises(EngineStartError, match="rank 32, and the engine argument max_lora_rank is"):
        configured(adapters, max_lora_rank=16)
