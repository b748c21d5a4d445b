"""A model that is named as on the Hugging Face Hub, which is downloaded first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir import IRClient

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess
    from tests.support.hub import Hub

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


def test_model_is_served_by_its_name_on_the_hub(hub_server: ServerProcess, hub: Hub) -> None:
    with IRClient(hub_server.target, timeout=300) as client:
        result = client.generate("An animal.", schema=SCHEMA)
    assert result.value["kind"] in ("cat", "dog")
    assert result.model == hub.name
    assert any(path.endswith("/tokenizer.json") for path in hub.requested)
