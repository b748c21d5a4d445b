"""Text from a server cannot control the terminal, forge a line or hide anything from people."""

from __future__ import annotations

import json
import os
import subprocess
from collections import deque
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir.cli.escapes import multiline, one_line
from genir.v1 import generation_pb2, ir_service_pb2, schema_pb2, status_pb2
from tests.support.cli import COMMAND, run, run_in_terminal, set_health
from tests.support.contract_server import (
    DIGEST,
    ContractServer,
    Refusal,
    accepted,
    checked,
    completed,
    delta,
    play,
    refused,
    started,
    success,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.contract_server import Call

EVIL = (
    "a\x1b[2Jb\x9b1mc\rd\ne\tf\x00g\x7fh\u202ei\u2066j\u200fk\u061cl\u2028m\u2029n\u200bo\ufeffp"
    "\u00adq\U000e0041r\x85s\x0bt:warning:[red]"
)
SHOWN = (
    r"a\u001b[2Jb\u009b1mc\rd\ne\tf\u0000g\u007fh\u202ei\u2066j\u200fk\u061cl\u2028m\u2029n\u200bo"
    r"\ufeffp\u00adq\udb40\udc41r\u0085s\u000bt:warning:[red]"
)
SHOWN_IN_LINES = SHOWN.replace(r"\n", "\n").replace(r"\t", "\t")


def test_every_deceiving_character_is_escaped() -> None:
    assert one_line(EVIL) == SHOWN
    assert multiline(EVIL) == SHOWN_IN_LINES


@pytest.mark.parametrize(
    "text", ["größe", "漢字\u3000かな", "12\u00a0345", "नमस्ते", "👩\u200d💻", "می\u200cیم", ""]
)
def test_text_of_any_language_stays(text: str) -> None:
    assert one_line(text) == text == multiline(text)


@given(st.text())
def test_escaped_text_is_in_one_line_and_can_be_read_back_from_json(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in shown)
    written = json.dumps(text, ensure_ascii=False)
    assert json.loads(multiline(written)) == text


def assert_shown(output: str, times: int, lines: int | None = None) -> None:
    """The output holds `EVIL`, escaped, so many times, and nothing of it unescaped."""
    assert output.count(SHOWN) == times
    rest = output.replace(SHOWN, "").replace("\n", "")
    assert rest.isprintable(), ascii(rest)
    if lines is not None:
        assert output.count("\n") == lines


def test_errors(server: ContractServer) -> None:
    failure = status_pb2.GenerationFailure()
    failure.violations.add(instance_pointer=EVIL, keyword=EVIL, message=EVIL)
    refusal = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        EVIL,
        message=EVIL,
        fields=[(EVIL, EVIL)],
        details=[failure],
        request_id=EVIL,
    )
    server.script(refused(refusal))
    done = run("generate", "hi", server=server)
    assert (done.exit_code, done.stdout) == (1, "")
    # One line each for reason and message, field, violation, attempts and request id.
    assert_shown(done.stderr, times=7, lines=5)


def test_result(server: ContractServer) -> None:
    last = completed("1")
    last.completed.model = last.completed.structured_output_backend = EVIL
    last.completed.request_id = EVIL
    last.completed.schema_notices[0].keyword = EVIL
    server.script(play(accepted(EVIL), started(), delta("1"), last))
    done = run("generate", "hi", server=server)
    assert done.stdout == "1\n"
    assert_shown(done.stderr, times=4, lines=2)


def evil_health(call: Call) -> ir_service_pb2.HealthResponse:
    assert call.context.is_active()
    return ir_service_pb2.HealthResponse(
        phase=status_pb2.PHASE_READY,
        ready=True,
        message=EVIL,
        model=EVIL,
        structured_output_backend=EVIL,
        versions=status_pb2.Versions(genir=EVIL, vllm=EVIL, llguidance=EVIL, xgrammar=EVIL),
        lora_adapters=[EVIL, EVIL],
    )


def test_health_and_version(server: ContractServer) -> None:
    server.service.healths = deque([evil_health])
    done = run("health", server=server)
    assert_shown(done.stdout, times=9)
    assert [line.split()[0] for line in done.stdout.splitlines()].count("ready") == 1
    assert_shown(run("version", "--target", server.target).stdout, times=4, lines=5)
    assert_shown(run("health", "--wait", server=server).stderr, times=1, lines=1)
    # JSON for machines is exact.
    assert json.loads(run("health", "--json", server=server).stdout)["message"] == EVIL


def test_health_in_an_encoding_without_the_characters(server: ContractServer) -> None:
    set_health(server, status_pb2.PHASE_READY)
    healthy = server.service.healths[0]

    def foreign(call: Call) -> ir_service_pb2.HealthResponse:
        response = healthy(call)
        response.message = "größe 漢字"
        return response

    server.service.healths = deque([foreign])
    done = subprocess.run(
        [*COMMAND, "health", "--target", server.target],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr\xf6\xdfe \\u6f22\\u5b57" in done.stdout


def test_check_schema(server: ContractServer) -> None:
    def check(call: Call) -> ir_service_pb2.CheckSchemaResponse:
        response = checked(call)
        response.draft = response.minimal_instance = EVIL
        for text in (EVIL, ""):
            response.schema_notices.add(keyword=EVIL, pointer=text, detail=text)
        response.limits.add(name=EVIL, max=1, value=1)
        return response

    server.service.checks = deque([check])
    done = run("check-schema", server=server)
    assert_shown(done.stderr, times=7)
    assert json.loads(done.stdout)["draft"] == EVIL
    code, shown = run_in_terminal("check-schema", "--target", server.target)
    assert code == 0
    assert_shown(shown.replace("\r\n", "\n"), times=7)


def test_warmup(server: ContractServer, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text("{}")
    server.service.healths = deque([evil_health])
    refusal = schema_pb2.SchemaRefusal(message=EVIL)
    server.service.warmups = deque(
        [
            lambda _: ir_service_pb2.WarmupResponse(
                ir_json="1",
                model=EVIL,
                structured_output_backend=EVIL,
                schema_digest=DIGEST,
                schemas=[schema_pb2.WarmedSchema(refusal=refusal)],
            )
        ]
    )
    done = run("warmup", "--schema", str(file), server=server)
    assert (done.exit_code, done.stdout) == (2, "1\n")
    assert_shown(done.stderr, times=4, lines=3)


@pytest.mark.parametrize("arguments", [["--stream"], ["--raw-output"]])
def test_text_of_the_model(server: ContractServer, arguments: list[str]) -> None:
    cut = Refusal(grpc.StatusCode.OUT_OF_RANGE, "TRUNCATED")
    server.script(play(accepted(), started(), delta(EVIL), refusal=cut))
    code, shown = run_in_terminal("generate", "hi", *arguments, "--target", server.target)
    assert code == 4
    assert SHOWN_IN_LINES in shown.replace("\r\n", "\n")
    # Into a file it goes unchanged.
    assert EVIL in run("generate", "hi", *arguments, server=server).stderr


def test_spinner_on_a_terminal(server: ContractServer) -> None:
    server.service.healths = deque([evil_health])
    code, shown = run_in_terminal("health", "--wait", "--target", server.target, term="xterm")
    assert code == 0
    for character in "\x9b\x00\u202e\u2028\u200b":
        assert character not in shown
    assert "\x1b[2J" not in shown


def test_ir_on_a_terminal_is_escaped_and_still_the_same_json(server: ContractServer) -> None:
    value = {EVIL: [EVIL]}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    server.script(success(text))
    code, shown = run_in_terminal("generate", "hi", "-q", "--target", server.target)
    assert code == 0
    assert json.loads(shown) == value
    assert shown.replace("\r\n", "").isprintable()
    assert run("generate", "hi", "-q", server=server).stdout == f"{text}\n"


def test_engine_schema_that_is_not_json_is_shown_as_text(server: ContractServer) -> None:
    def check(call: Call) -> ir_service_pb2.CheckSchemaResponse:
        response = checked(call)
        response.engine_schema = texts.popleft()
        return response

    texts = deque(["{\x1b[2J", "[" * 100_000])
    server.service.checks = deque([check])
    for start in (r"{\u001b[2J", "[[[["):
        code, shown = run_in_terminal("check-schema", "--engine-schema", "--target", server.target)
        assert code == 0
        assert start in shown
        assert "Traceback" not in shown


def test_attempts_of_a_stream_stay_readable(server: ContractServer) -> None:
    server.script(
        play(
            accepted(),
            started(),
            delta("a\n"),
            started(2, generation_pb2.ATTEMPT_REASON_TRUNCATED),
            delta("{\n}"),
            completed("{}", attempts=2),
        )
    )
    done = run("generate", "hi", "--stream", server=server)
    assert done.stderr.startswith("a\n\nattempt 2; the attempt before: truncated\n{\n}\n")
