"""A load reports its progress in the log and in Health."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import IRClient

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = 3


def sharded_model(folder: Path) -> Path:
    """The tiny model with its weights in several files, as large models have them."""
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


def test_shards_of_a_model_are_counted(tmp_path: Path) -> None:
    model = sharded_model(tmp_path / "model")
    server = ServerProcess(tmp_path, ["--model", str(model), "--max-model-len", "2048"])
    try:
        server.wait_ready()
        last = server.log_lines("loading")[-1]
        assert (last["stage"], last["done"], last["total"]) == ("weights", SHARDS, SHARDS)
        assert last["unit"] == "shards"
        assert "Completed |" not in server.log, "no bar is printed"
        with IRClient(server.target) as client:
            assert client.health().load_progress is None
    finally:
        server.close()
