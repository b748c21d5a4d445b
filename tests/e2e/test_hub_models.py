"""A model that is named as on the Hugging Face Hub, which is downloaded first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model
from genir import IRClient
from tests.support.hub import Hub

if TYPE_CHECKING:
    from pathlib import Path

NAME = "owner/tiny"
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


def test_model_is_served_by_its_name_on_the_hub(tmp_path: Path) -> None:
    with Hub(NAME, make_tiny_model()) as hub:
        server = ServerProcess(
            tmp_path,
            ("--model", NAME, "--max-model-len", "2048"),
            environment=hub.environment(tmp_path / "hub"),
        )
        try:
            server.wait_ready()
            with IRClient(server.target, timeout=300) as client:
                result = client.generate("An animal.", schema=SCHEMA)
            assert result.value["kind"] in ("cat", "dog")
            assert result.model == NAME
        finally:
            server.close()
    assert any(path.endswith("/tokenizer.json") for path in hub.requested)
