"""The command line offers every request field of the contract, or the table here says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from genir.cli.app import app
from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from tests.support.contract_fields import (
    NEW_FIELD,
    field_names,
    samples,
    set_fields,
    with_new_field,
)
from tests.support.contract_server import ContractServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.protobuf.message import Message

SPEC = "genir.v1.GenerationSpec"
REQUESTS: tuple[type[Message], ...] = (
    # `genir generate` makes a StreamIR call, so that it can show progress.
    ir_service_pb2.StreamIRRequest,
    ir_service_pb2.CheckSchemaRequest,
    ir_service_pb2.HealthRequest,
    ir_service_pb2.WarmupRequest,
)
NOT_OFFERED = {
    f"{SPEC}.conversation": "A command has one prompt. Programs hold conversations.",
    "genir.v1.Conversation.messages": "Part of a conversation.",
    "genir.v1.Message.role": "Part of a conversation.",
    "genir.v1.Message.content": "Part of a conversation.",
    "genir.v1.StreamIRRequest.tokens_per_delta": "It saves CPU with many streams only.",
}
ARGUMENTS = {
    "prompt": [],
    "json_schema": ["--schema", "FILE"],
}
"""How `genir generate` is given a field, where that is not an option of the field's name."""


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as server:
        ready = ir_service_pb2.HealthResponse(phase=status_pb2.PHASE_READY, ready=True)
        server.service.healths.append(lambda _: ready)
        server.service.checks.append(lambda _: ir_service_pb2.CheckSchemaResponse())
        server.service.warmups.append(lambda _: ir_service_pb2.WarmupResponse(ir_json="{}"))
        yield server


def arguments_for(field: Any, file: Path) -> list[str]:
    """The arguments of `genir generate` that set a field of the spec."""
    if field.name in ARGUMENTS:
        return [str(file) if each == "FILE" else each for each in ARGUMENTS[field.name]]
    option = f"--{field.name.replace('_', '-')}"
    if field.enum_type is not None:
        prefix = f"{field.name.upper()}_"
        return [option, field.enum_type.values[-1].name.removeprefix(prefix).lower()]
    return [option, str(samples(field)[0])]


def offered_fields(server: ContractServer, file: Path, spec_class: Any) -> set[str]:
    """The fields that the command line sets when it is given every option that it has."""
    runner = CliRunner(env={"GENIR_TARGET": server.target})
    file.write_text("{}")
    for field in spec_class.DESCRIPTOR.fields:
        if field.full_name in NOT_OFFERED:
            continue
        # One at a time: some exclude each other, and an option that is missing is told by name.
        runner.invoke(app, ["generate", "hi", "--quiet", *arguments_for(field, file)])
    runner.invoke(app, ["check-schema", str(file), "--engine-schema"])
    runner.invoke(app, ["check-schema", "--schema-digest", "sha256:ab"])
    runner.invoke(app, ["health", "--deep"])
    runner.invoke(app, ["warmup", "--force", "--schema", str(file)])
    offered: set[str] = set()
    for call in server.calls:
        offered |= set_fields(call.request)
    return offered


def request_fields(owner: str = "") -> set[str]:
    return {
        name
        for request_class in REQUESTS
        for name in field_names(with_new_field(request_class, owner) if owner else request_class)
    }


def test_every_request_field_has_an_option_or_a_reason(
    server: ContractServer, tmp_path: Path
) -> None:
    offered = offered_fields(server, tmp_path / "schema.json", generation_pb2.GenerationSpec)
    assert request_fields() - offered == set(NOT_OFFERED)


def test_a_new_request_field_without_an_option_is_found(
    server: ContractServer, tmp_path: Path
) -> None:
    extended = with_new_field(generation_pb2.GenerationSpec, SPEC)
    offered = offered_fields(server, tmp_path / "schema.json", extended)
    missing = request_fields(SPEC) - offered - set(NOT_OFFERED)
    assert missing == {f"{SPEC}.{NEW_FIELD}"}
