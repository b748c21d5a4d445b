"""The tiny model with its weights in several files, as large models have them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from bench.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = 3


def make_sharded_model(folder: Path) -> Path:
    """Writes the model into `folder`, which must not exist, and returns it."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(make_tiny_model(), folder)
    whole = folder / "model.safetensors"
    weights = sorted(load_file(whole).items())
    whole.unlink()
    names: dict[str, str] = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        part = dict(weights[shard::SHARDS])
        save_file(part, folder / file, {"format": "pt"})
        names |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
