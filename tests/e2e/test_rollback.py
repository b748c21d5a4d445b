"""Another backend is one setting away, and answers keep their shape; adapters and priorities."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_adapter, make_tiny_model
from bench.support.tiny_server import text_schema
from genir import AsyncIRClient, IRClient
from genir.v1 import ir_service_pb2_grpc
from tests.support.calls import SMALL_SCHEMA, generate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir.v1 import ir_service_pb2

TEXT = text_schema(20, 40)
LONG = text_schema(900, 1000)


@pytest.fixture(scope="module", params=["xgrammar", "auto"])
def rolled_back(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ServerProcess]]:
    folder = tmp_path_factory.mktemp(request.param)
    server = ServerProcess(
        folder,
        [
            *("--model", str(make_tiny_model()), "--served-model-name", "tiny"),
            *("--structured-output-backend", request.param),
            *("--lora-adapters", f"noise={make_tiny_adapter(folder / 'noise')}"),
            # One at a time, so that there is a queue.
            *("--engine-args", "max_num_seqs=1", "--engine-args", "max_lora_rank=8"),
        ],
    )
    try:
        server.wait_ready()
        yield request.param, server
    finally:
        server.close()


UNFIT_FOR_XGRAMMAR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": 12},
        "step": {"type": "integer", "minimum": 6, "maximum": 8, "multipleOf": 2},
    },
    "required": ["name", "step"],
    "additionalProperties": False,
}
"""vLLM refuses a length beside a pattern, and multipleOf, where xgrammar is asked for."""


def _shape(answer: ir_service_pb2.GenerateIRResponse) -> set[str]:
    return {field.name for field, _ in answer.ListFields()}


def test_the_answer_has_the_same_shape_and_names_the_backend(
    rolled_back: tuple[str, ServerProcess], stub: ir_service_pb2_grpc.IRServiceStub
) -> None:
    configured, server = rolled_back
    with grpc.insecure_channel(server.target) as channel, IRClient(server.target) as client:
        elsewhere = ir_service_pb2_grpc.IRServiceStub(channel)
        answer = generate(elsewhere, "Name a thing.", schema=SMALL_SCHEMA)
        used = answer.structured_output_backend
        assert used == configured or (configured == "auto" and used in {"guidance", "xgrammar"})
        ir = json.loads(answer.ir_json)
        assert ir.keys() == {"name", "kind"}
        # The same fields as from guidance; what the prefix cache held is no field of its own.
        assert _shape(answer) == _shape(generate(stub, "Name a thing.", schema=SMALL_SCHEMA))
        health = client.health(deep=True)
        assert health.configured_structured_output_backend == configured
        assert health.structured_output_backend == used
        assert health.ir_json


def test_an_adapter_changes_what_is_written(rolled_back: tuple[str, ServerProcess]) -> None:
    _, server = rolled_back
    with IRClient(server.target, timeout=300) as client:
        assert client.health().lora_adapters == ("noise",)
        options: dict[str, Any] = {
            "schema": TEXT,
            "temperature": 0,
            "schema_in_prompt": "never",
        }
        plain = client.generate("Hello.", **options)
        adapted = client.generate("Hello.", lora_adapter="noise", **options)
        assert (plain.lora_adapter, adapted.lora_adapter) == ("", "noise")
        assert plain.ir_json != adapted.ir_json
        assert plain.ir_json == client.generate("Hello.", **options).ir_json


async def test_the_lower_priority_number_goes_first(
    rolled_back: tuple[str, ServerProcess],
) -> None:
    _, server = rolled_back
    finished: list[str] = []
    async with AsyncIRClient(server.target, timeout=300) as client:

        async def call(name: str, priority: int) -> None:
            await client.generate("Write.", schema=LONG, priority=priority, temperature=0)
            finished.append(name)

        async with asyncio.TaskGroup() as calls:
            calls.create_task(call("running", -1000))
            while not (await client.health()).activity.running:  # noqa: ASYNC110 - no event for it.
                await asyncio.sleep(0.01)
            calls.create_task(call("last", 5))
            calls.create_task(call("middle", 0))
            calls.create_task(call("first", -5))
    assert finished == ["running", "first", "middle", "last"]


def test_what_xgrammar_does_not_enforce_is_no_reason_to_refuse(
    rolled_back: tuple[str, ServerProcess],
) -> None:
    _, server = rolled_back
    with IRClient(server.target) as client:
        # Two of three numbers are multiples, and nothing but chance chooses.
        answer = client.generate("Name a thing.", schema=UNFIT_FOR_XGRAMMAR, max_attempts=5)
        ir = json.loads(answer.ir_json)
        assert len(ir["name"]) <= 12
        assert ir["step"] in (6, 8)
        (notice,) = answer.schema_notices
        assert (notice.keyword, notice.pointer) == ("multipleOf", "/properties/step")
