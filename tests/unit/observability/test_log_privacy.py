"""Prompts and outputs are in no log line and in no other caller's errors."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog

from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.engine.protocol import EngineRejectedError
from genir_server.observability.logging import configure_logging
from tests.support.in_process_server import REQUEST, refusal, serving
from tests.support.scripted_engine import TEXT_SCHEMA, ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Iterator


MARK = "xylophone"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


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
async def test_engine_error_that_quotes_the_prompt_is_not_logged(
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
    logged = "".join(capsys.readouterr())
    assert "call" in logged
    assert MARK not in logged
    if code is grpc.StatusCode.INTERNAL:
        assert MARK not in message
        assert "scripted_engine.py" in logged  # The place of the error is logged.
        assert type(fault).__name__ in logged


async def test_log_content_setting_logs_error_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json", "debug")
    async with (
        serving(ScriptedEngine(RuntimeError(MARK)), log_content=True) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        await refusal(served.stub(channel).GenerateIR(REQUEST))
    assert MARK in "".join(capsys.readouterr())


async def test_errors_contain_nothing_of_other_callers() -> None:
    """One of two concurrent callers fails and sees nothing of the other."""
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
