"""A tiny model with random weights. It loads and runs faster than a real one and writes noise.

For tests of faults, load and streams. Constrained decoding makes valid JSON of the noise.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING

from genir_server.engine.embedded_model import make_embedded_model
from genir_server.engine.model_cache import cache_folder, make_once

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 1
_VOCABULARY = 49152
_HIDDEN = 128
_LAYERS = 2
_ADAPTER_RANK = 8
_ADAPTED = ["q_proj", "v_proj"]


def make_tiny_model() -> Path:
    """Returns the folder of the tiny model. The first call creates it in the model cache."""
    folder = cache_folder() / f"tiny-random-llama-{_FORMAT}"
    if folder.is_dir():
        return folder
    return make_once(folder, partial(_build, make_embedded_model()))


def make_random_model(folder: Path, vocabulary: int) -> Path:
    """Writes a tiny model with random weights and no tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=_HIDDEN,
        intermediate_size=256,
        num_hidden_layers=_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def _build(with_tokenizer: Path, folder: Path) -> None:
    make_random_model(folder, _VOCABULARY)
    for file in with_tokenizer.iterdir():
        if file.name.startswith("tokenizer") or file.name == "chat_template.jinja":
            shutil.copy2(file, folder / file.name)


def make_tiny_adapter(folder: Path, rank: int = _ADAPTER_RANK) -> Path:
    """Writes a random LoRA adapter, strong enough to change the tiny model's output."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    weights = {}
    for layer in range(_LAYERS):
        for projection in _ADAPTED:
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            down = torch.randn(rank, _HIDDEN, dtype=torch.bfloat16)
            weights[f"{name}.lora_A.weight"] = down
            weights[f"{name}.lora_B.weight"] = down.flip(1).t().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": _ADAPTED,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


if __name__ == "__main__":
    make_tiny_model()
