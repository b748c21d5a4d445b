"""The folders that a start needs, looked for before vLLM is imported, which takes many seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genir_server.engine.model_name import is_folder
from genir_server.engine.protocol import EngineStartError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")


def check_folders(model: str | None, adapters: Mapping[str, str]) -> None:
    """Checks that the folders of the model and of the adapters are there.

    Args:
        model: folder or name of the model; None for the embedded model.
        adapters: the folder of each LoRA adapter, by its name.

    Raises:
        EngineStartError: one is missing, or a folder holds no adapter.

    """
    if model is not None and is_folder(model) and not Path(model).exists():
        raise EngineStartError(f"the model folder {model} does not exist")
    for name, folder in adapters.items():
        if not (Path(folder) / _ADAPTER_CONFIG).is_file():
            raise EngineStartError(
                f"the LoRA adapter {name} is not at {folder}: no {_ADAPTER_CONFIG} there"
            )
        if not any((Path(folder) / file).is_file() for file in _ADAPTER_WEIGHTS):
            raise EngineStartError(
                f"the LoRA adapter {name} has no weights: no {_ADAPTER_WEIGHTS[0]}"
            )
