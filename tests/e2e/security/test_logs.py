"""What a caller sends and gets is in no log line, and in nobody else's errors."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from genir_server.engine.protocol import EngineRejectedError
from genir_server.observability.logging import configure_logging
from tests.support.credentials import CREDENTIALS, TOKEN
from tests.support.in_process_server import REQUEST, bearer, refusal, serving
from tests.support.scripted_engine import TEXT_SCHEMA, ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.support.server_process import ServerProcess

MARK = "xylophone"
FIXED = {"const": f"{MARK}-output"}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


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


def test_nothing_of_a_call_is_in_the_log_at_any_level(hostile_server: ServerProcess) -> None:
    begun = len(hostile_server.log)
    outcomes = {}
    with grpc.insecure_channel(hostile_server.target) as channel:
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
    log = hostile_server.log[begun:]
    assert log.count('"event": "call"') >= len(SPECS)
    assert MARK not in log
    # All of it, from the first line on.
    assert TOKEN not in hostile_server.log
    assert '"level": "debug"' in hostile_server.log


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError(f"while reading {MARK}"),
        ValueError(f"{MARK}\nforged line"),
        EngineRejectedError(f"bad grammar: {MARK}"),
        TimeoutError(MARK),
        "a value that fails the verification",
    ],
)
async def test_an_engine_that_quotes_the_prompt_does_not_reach_the_log(
    capsys: pytest.CaptureFixture[str], fault: Any, form: Any
) -> None:
    configure_logging(form, "debug")
    text = f'{{"a":10,"b":"{MARK}"}}' if isinstance(fault, str) else _caused(fault)
    async with (
        serving(ScriptedEngine(text, text)) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        code, _, message = await refusal(served.stub(channel).GenerateIR(REQUEST))
        await asyncio.sleep(0)
    said = "".join(capsys.readouterr())
    assert "call" in said
    assert MARK not in said
    if code is grpc.StatusCode.INTERNAL:
        assert MARK not in message
        assert "scripted_engine.py" in said  # Where it happened is told.
        assert type(fault).__name__ in said


async def test_log_content_is_what_brings_it_into_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json", "debug")
    async with (
        serving(ScriptedEngine(RuntimeError(MARK)), log_content=True) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        await refusal(served.stub(channel).GenerateIR(REQUEST))
    assert MARK in "".join(capsys.readouterr())


async def test_errors_tell_nothing_of_other_callers() -> None:
    """Two callers at once, one of whom fails: neither sees anything of the other."""
    good = '{"a":1}'
    first = generation_pb2.GenerationSpec(prompt=f"{MARK}-first", json_schema=TEXT_SCHEMA)
    second = generation_pb2.GenerationSpec(
        prompt="second", json_schema=TEXT_SCHEMA, request_id="second"
    )
    async with (
        serving(ScriptedEngine(good, RuntimeError(f"{MARK}-first"), good)) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        ok = stub.GenerateIR(ir_service_pb2.GenerateIRRequest(spec=first))
        await ok
        failing = stub.GenerateIR(ir_service_pb2.GenerateIRRequest(spec=second))
        code, _, message = await refusal(failing)
        trailers = await failing.trailing_metadata()
    assert code is grpc.StatusCode.INTERNAL
    assert MARK not in message
    assert MARK.encode() not in b"".join(
        value if isinstance(value, bytes) else value.encode() for _, value in trailers
    )


def _caused(fault: Exception) -> Exception:
    fault.__cause__ = KeyError(f"{MARK}-cause")
    return fault
