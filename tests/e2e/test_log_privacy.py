"""No log line of a server contains prompts, schemas, outputs or tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from tests.support.credentials import CREDENTIALS, TOKEN
from tests.support.in_process_server import bearer

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess

MARK = "xylophone"
FIXED = {"const": f"{MARK}-output"}


def spec(**fields: Any) -> generation_pb2.GenerationSpec:
    return generation_pb2.GenerationSpec(**{"prompt": f"{MARK}-prompt", "max_tokens": 40, **fields})


SPECS = {
    "good": spec(json_schema=json.dumps(FIXED), system=f"{MARK}-system"),
    "raw": spec(json_schema=json.dumps(FIXED), prompt_format=generation_pb2.PROMPT_FORMAT_RAW),
    "conversation": generation_pb2.GenerationSpec(
        conversation=generation_pb2.Conversation(
            messages=[
                generation_pb2.Message(role=generation_pb2.ROLE_USER, content=f"{MARK}-message")
            ]
        ),
        json_schema=json.dumps(FIXED),
        max_tokens=40,
    ),
    "truncated": spec(json_schema='{"type":"string","minLength":200}', max_tokens=300),
    "bad field": spec(temperature=7, request_id=f"{MARK} {MARK}"),
    "bad model": spec(model=f"{MARK}-model"),
    "bad adapter": spec(lora_adapter=f"{MARK}-adapter"),
    "bad digest": spec(schema_digest=f"{MARK}-digest"),
    "no JSON": spec(json_schema=f'{{"{MARK}'),
    "no schema": spec(json_schema=json.dumps({"type": f"{MARK}-type"})),
    "remote reference": spec(json_schema=json.dumps({"$ref": f"http://{MARK}.example.org/"})),
    "bad pattern": spec(json_schema=json.dumps({"type": "string", "pattern": f"({MARK}"})),
    "impossible": spec(json_schema=json.dumps({"const": MARK, "type": "integer"})),
    "duplicate": spec(json_schema=f'{{"{MARK}":1,"{MARK}":2}}'),
    "too long": spec(prompt=f"{MARK} " * 5000),
    "far too long": spec(prompt=f"{MARK} " * 200_000),
    "too little room": spec(json_schema=json.dumps({"const": MARK * 30}), max_tokens=3),
}


def test_log_has_no_content_at_any_level(private_server: ServerProcess) -> None:
    begun = len(private_server.log)
    outcomes = {}
    with grpc.insecure_channel(private_server.target) as channel:
        stub = ir_service_pb2_grpc.IRServiceStub(channel)
        raw: Any = channel.unary_unary("/genir.v1.IRService/GenerateIR")
        options: Any = {"timeout": 120, "metadata": CREDENTIALS}
        for name, each in SPECS.items():
            try:
                answer = stub.GenerateIR(ir_service_pb2.GenerateIRRequest(spec=each), **options)
            except grpc.RpcError as error:
                outcomes[name] = error.code().name
            else:
                outcomes[name] = "OK"
                assert MARK in answer.ir_json or name == "truncated"
        for wrong in (bearer(f"{MARK}-token"), (("authorization", f"{MARK}-header"),)):
            with pytest.raises(grpc.RpcError):
                stub.GenerateIR(
                    ir_service_pb2.GenerateIRRequest(spec=SPECS["good"]), metadata=wrong, timeout=30
                )
        with pytest.raises(grpc.RpcError):
            raw(f"\xff\xff{MARK}".encode("latin-1"), **options)
        with pytest.raises(grpc.RpcError):
            stub.GenerateIR(
                ir_service_pb2.GenerateIRRequest(spec=SPECS["good"]),
                metadata=CREDENTIALS,
                timeout=0.002,
            )
    assert {outcomes[name] for name in ("good", "raw", "conversation")} == {"OK"}, outcomes
    assert {"INVALID_ARGUMENT", "NOT_FOUND"} <= set(outcomes.values())
    log = private_server.log[begun:]
    assert log.count('"event": "call"') >= len(SPECS)
    assert MARK not in log
    # The whole log, from the first line.
    assert TOKEN not in private_server.log
    assert '"level": "debug"' in private_server.log
