"""A tiny model with random weights: up sooner and faster than a real one, its text is noise.

For tests of faults, load and streams. Constrained noise is still valid JSON.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from genir_server.engine.embedded_model import make_embedded_model
from genir_server.engine.model_cache import cache_folder, make_once

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 1


def make_tiny_model() -> Path:
    """The folder of the tiny model, made on the first call and cached like the embedded one."""
    folder = cache_folder() / f"tiny-random-llama-{_FORMAT}"
    if folder.is_dir():
        return folder
    return make_once(folder, partial(_build, make_embedded_model()))


def _build(with_tokenizer: Path, folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        vocab_size=49152,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for file in with_tokenizer.iterdir():
        if file.name.startswith("tokenizer") or file.name == "chat_template.jinja":
            shutil.copy2(file, folder / file.name)


if __name__ == "__main__":
    make_tiny_model()
