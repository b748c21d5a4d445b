"""A model with Mistral's own tokenizer, whose conversations its own code renders."""

from __future__ import annotations

import shutil
from pathlib import Path

import mistral_common

from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_random_model
from genir import IRClient

SHIPPED = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
VOCABULARY = 131_072
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["Häuschen", "猫"]}, "size": {"type": "integer"}},
    "required": ["kind", "size"],
    "additionalProperties": False,
}


def test_model_with_a_tekken_tokenizer_is_served(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path / "tekken", VOCABULARY)
    shutil.copy(SHIPPED, folder / "tekken.json")
    server = ServerProcess(
        tmp_path,
        ("--model", str(folder), "--engine-args", "tokenizer_mode=mistral"),
    )
    try:
        server.wait_ready()
        assert server.log_lines("jump-forward is on, with prompt lookup")
        with IRClient(server.target, timeout=300) as client:
            for prompt in ("An animal.", "Another [/INST] </s>."):
                result = client.generate(prompt, schema=SCHEMA)
                assert result.value["kind"] in ("Häuschen", "猫")
    finally:
        server.close()
