"""Output and exit codes of the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import types
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from typer.testing import CliRunner

from genir.cli.app import app
from genir.schemas import builtin_ir_schema_text
from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from tests.support.cli import COMMAND, run, run_in_terminal, set_health
from tests.support.contract_server import (
    DIGEST,
    OVERLOADED,
    Call,
    ContractServer,
    Refusal,
    accepted,
    completed,
    delta,
    play,
    refused,
    started,
    success,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def last_spec(server: ContractServer) -> generation_pb2.GenerationSpec:
    request = server.calls[-1].request
    assert isinstance(request, ir_service_pb2.StreamIRRequest)
    return request.spec


def test_pipe_gets_only_the_exact_ir(server: ContractServer) -> None:
    ir = '{"n":1e+30,"name":"größe"}'
    server.script(success(ir))
    done = subprocess.run(
        [*COMMAND, "generate", "hello", "--target", server.target],
        capture_output=True,
        check=True,
        env={
            **os.environ,
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "ascii",
            "http_proxy": "http://127.0.0.1:1",
        },
    )
    assert done.stdout == ir.encode() + b"\n"
    stderr = done.stderr.decode()
    assert "12 prompt tokens (4 cached), 6 written" in stderr
    assert "total 1.50 s" in stderr
    assert "uniqueItems checked after decoding" in stderr


def test_terminal_gets_indented_ir_without_control_characters(
    server: ContractServer,
) -> None:
    server.script(success('{"a":"\x9b31m","b":[1]}'))
    code, shown = run_in_terminal("generate", "hello", "--quiet", "--target", server.target)
    assert code == 0
    assert shown.splitlines() == ["{", '  "a": "\\u009b31m",', '  "b": [', "    1", "  ]", "}"]


def test_quiet_leaves_stderr_empty(server: ContractServer) -> None:
    result = run("generate", "hello", "--quiet", server=server)
    assert (result.exit_code, result.stdout, result.stderr) == (0, '{"a":1}\n', "")


def test_stream_writes_the_text_of_each_attempt_to_stderr(server: ContractServer) -> None:
    server.script(
        play(
            accepted(),
            started(),
            delta('{ "a'),
            started(2, generation_pb2.ATTEMPT_REASON_VALIDATION_FAILED),
            delta('{ "a": 1'),
            delta(" }"),
            completed('{"a":1}', attempts=2),
        )
    )
    result = run("generate", "hello", "--stream", server=server)
    assert result.stdout == '{"a":1}\n'
    lines = result.stderr.splitlines()
    assert lines[0] == '{ "a'
    assert "attempt 2" in lines[1]
    assert lines[2] == '{ "a": 1 }'


def test_prompt_is_read_from_stdin_or_a_file(server: ContractServer, tmp_path: Path) -> None:
    assert run("generate", server=server, stdin="from\nstdin\n").exit_code == 0
    assert last_spec(server).prompt == "from\nstdin"
    assert run("generate", "-", server=server, stdin="again").exit_code == 0
    assert last_spec(server).prompt == "again"
    file = tmp_path / "prompt.txt"
    file.write_text("from a file\n", encoding="utf-8")
    assert run("generate", "--file", str(file), server=server).exit_code == 0
    assert last_spec(server).prompt == "from a file"


def test_options_reach_the_request(server: ContractServer, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{ "type": "object" }', encoding="utf-8")
    options = {
        "--schema": str(schema),
        "--system": "be brief",
        "--max-tokens": "99",
        "--temperature": "0",
        "--top-p": "0.5",
        "--top-k": "0",
        "--min-p": "0.1",
        "--seed": "7",
        "--frequency-penalty": "-1",
        "--presence-penalty": "1",
        "--repetition-penalty": "1.5",
        "--model": "tiny",
        "--lora-adapter": "mine",
        "--schema-in-prompt": "never",
        "--prompt-format": "chat",
        "--max-attempts": "3",
        "--priority": "-5",
        "--request-id": "r-5",
        "--metadata": "Authorization=Bearer a=b",
        "--timeout": "9",
    }
    flat = [part for pair in options.items() for part in pair]
    assert run("generate", "hello", *flat, server=server).exit_code == 0
    expected = generation_pb2.GenerationSpec(
        prompt="hello",
        json_schema='{ "type": "object" }',
        system="be brief",
        max_tokens=99,
        temperature=0,
        top_p=0.5,
        top_k=0,
        min_p=0.1,
        seed=7,
        frequency_penalty=-1,
        presence_penalty=1,
        repetition_penalty=1.5,
        model="tiny",
        lora_adapter="mine",
        schema_in_prompt=generation_pb2.SCHEMA_IN_PROMPT_NEVER,
        prompt_format=generation_pb2.PROMPT_FORMAT_CHAT,
        max_attempts=3,
        priority=-5,
        request_id="r-5",
    )
    assert last_spec(server) == expected
    assert server.calls[-1].metadata["authorization"] == "Bearer a=b"
    assert server.calls[-1].time_remaining < 10
    assert run("generate", "hello", "--schema-digest", DIGEST, server=server).exit_code == 0
    assert last_spec(server).schema_digest == DIGEST


TRUNCATED = Refusal(grpc.StatusCode.OUT_OF_RANGE, "TRUNCATED")


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal(grpc.StatusCode.INTERNAL, "INTERNAL"), 1),
        (Refusal(grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG"), 2),
        (Refusal(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"), 2),
        (Refusal(grpc.StatusCode.UNAVAILABLE, "ENGINE_DEAD"), 3),
        (TRUNCATED, 4),
        (Refusal(grpc.StatusCode.FAILED_PRECONDITION, "VALIDATION_FAILED"), 4),
        (Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), 5),
        (replace(OVERLOADED, retry_after=200), 6),
        (Refusal(grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN"), 8),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else "",
)
def test_failure_has_an_explanation_and_an_exit_code(
    server: ContractServer, refusal: Refusal, code: int
) -> None:
    server.script(refused(refusal))
    result = run("generate", "hello", server=server)
    assert result.exit_code == code
    assert result.stdout == ""
    assert f"error: {refusal.reason}: {refusal.message}" in result.stderr
    assert "request id r-refused" in result.stderr


def test_invalid_field_is_named(server: ContractServer) -> None:
    refusal = Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        fields=[("spec.temperature", "must be 0 to 2")],
    )
    server.script(refused(refusal))
    result = run("generate", "hello", "--temperature", "9", server=server)
    assert result.exit_code == 2
    assert "spec.temperature: must be 0 to 2" in result.stderr


def test_raw_output_shows_the_models_text(server: ContractServer) -> None:
    server.script(play(accepted(), started(), delta('{"a": "unfini'), refusal=TRUNCATED))
    result = run("generate", "hello", server=server)
    assert "--raw-output shows the model's text (13 characters)" in result.stderr
    assert "unfini" not in result.stderr
    result = run("generate", "hello", "--raw-output", server=server)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.endswith('{"a": "unfini\n')


@pytest.mark.parametrize(
    ("arguments", "excerpt"),
    [
        (["generate", "a", "--file", __file__], "either"),
        (["generate", "a", "--schema", "/does/not/exist"], "exist"),
        (["generate", "a", "--timeout", "0"], "timeout"),
        (["generate", "a", "--max-tokens", "99999999999"], "max_tokens"),
        (["generate", "a", "--schema", __file__, "--schema-digest", "sha256:ab"], "not both"),
        (["generate", "a", "--metadata", "token"], "KEY=VALUE"),
        (["generate", "a", "--target", "one:1,two:2"], "dns:///"),
        (["health", "5"], "--wait"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], excerpt: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert excerpt in result.stderr


def test_prompt_that_is_not_utf8_exits_with_2() -> None:
    result = CliRunner().invoke(app, ["generate"], input=b"\xff\xfa")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


def test_refused_connection_exits_with_3() -> None:
    with ContractServer() as gone:
        target = gone.target
    for command in (["generate", "hello"], ["health"], ["version"]):
        assert run(*command, "--target", target).exit_code == 3


def test_deadline_exits_with_5(server: ContractServer) -> None:
    server.script(play(accepted(), hang=True))
    result = run("generate", "hello", "--timeout", "0.3", server=server)
    assert result.exit_code == 5
    assert "deadline of 0.3 s" in result.stderr


def test_control_c_cancels_the_call_and_exits_with_130(server: ContractServer) -> None:
    arrived = threading.Event()

    def script(call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
        yield accepted()
        arrived.set()
        call.ended.wait(30)

    server.script(script)
    process = subprocess.Popen(
        [*COMMAND, "generate", "hello", "--target", server.target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # As in a terminal. A process that a shell runs in the background ignores the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        assert arrived.wait(20)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert server.calls[0].ended.wait(5)


def test_health_exits_with_0_when_ready_and_3_when_not(server: ContractServer) -> None:
    set_health(server, status_pb2.PHASE_LOADING_MODEL, status_pb2.PHASE_READY)
    result = run("health", server=server)
    assert result.exit_code == 3
    assert "loading model" in result.stdout
    assert "busy [/with] it" in result.stdout
    result = run("health", server=server)
    assert result.exit_code == 0
    assert "vllm 0.32.0" in result.stdout


def test_health_shows_how_far_a_load_has_come(server: ContractServer) -> None:
    def answer(_: Call) -> ir_service_pb2.HealthResponse:
        return ir_service_pb2.HealthResponse(
            phase=status_pb2.PHASE_LOADING_MODEL,
            load_progress=status_pb2.LoadProgress(
                stage=status_pb2.LOAD_STAGE_WEIGHTS, done=12, total=48, unit="shards"
            ),
        )

    server.service.healths = deque([answer])
    assert "loading   weights: 12 of 48 shards (25%)" in run("health", server=server).stdout
    as_json = json.loads(run("health", "--json", server=server).stdout)
    assert as_json["load_progress"] == {
        "stage": "weights",
        "done": 12,
        "total": 48,
        "unit": "shards",
    }


def test_health_shows_each_rank_of_an_engine_that_has_several(server: ContractServer) -> None:
    def answer(number: int) -> ir_service_pb2.HealthResponse:
        ranks = [
            status_pb2.EngineRank(
                rank=rank,
                running=3,
                waiting=rank,
                kv_cache_usage=0.25,
                structured_output_backend="guidance" if rank else "",
            )
            for rank in range(number)
        ]
        ranks[-1].last_step_time.FromSeconds(1_700_000_000)
        return ir_service_pb2.HealthResponse(
            phase=status_pb2.PHASE_READY, ready=True, engines=ranks
        )

    server.service.healths = deque([lambda _: answer(2), lambda _: answer(1)])
    shown = run("health", server=server).stdout
    assert (
        "rank 0    3 running, 0 waiting, last step none yet, KV cache 25%, backend not known yet"
        in shown
    )
    assert "rank 1    3 running, 1 waiting, last step 2023-11-14T22:13:20+00:00, KV" in shown
    assert "rank 0" not in run("health", server=server).stdout


def test_health_json_holds_the_whole_state(server: ContractServer) -> None:
    set_health(server, status_pb2.PHASE_READY)
    state = json.loads(run("health", "--json", "--deep", server=server).stdout)
    assert state["ready"] is True
    assert state["phase"] == "ready"
    assert state["uptime"] == 1.5
    assert state["versions"]["genir"] == "0.9.1"
    assert state["ir_json"] == "{}"


def test_health_waits_and_shows_the_phases(server: ContractServer) -> None:
    set_health(
        server,
        status_pb2.PHASE_LOADING_MODEL,
        status_pb2.PHASE_WARMING_UP,
        status_pb2.PHASE_READY,
    )
    result = run("health", "--wait", server=server)
    assert result.exit_code == 0
    shown = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert shown == ["loading model", "warming up", "ready"]


def test_terminal_shows_the_phase_in_place(server: ContractServer) -> None:
    set_health(server, status_pb2.PHASE_LOADING_MODEL, status_pb2.PHASE_READY)
    code, shown = run_in_terminal("health", "--wait", "--target", server.target, term="xterm")
    assert code == 0
    assert "loading model (0 s): busy [/with] it\r" in shown


def test_health_wait_ends_at_its_maximum(server: ContractServer) -> None:
    set_health(server, status_pb2.PHASE_LOADING_MODEL)
    result = run("health", "--wait", "0.2", server=server)
    assert result.exit_code == 3
    assert "not ready after 0.2 s" in result.stderr


def test_warmup_waits_and_prints_its_ir(server: ContractServer) -> None:
    def warm(call: Call) -> ir_service_pb2.WarmupResponse:
        assert isinstance(call.request, ir_service_pb2.WarmupRequest)
        return ir_service_pb2.WarmupResponse(
            ir_json='{"warm":1}', already_warm=not call.request.force, schema_digest=DIGEST
        )

    set_health(server, status_pb2.PHASE_LOADING_MODEL, status_pb2.PHASE_READY)
    server.service.warmups = deque([warm])
    result = run("warmup", server=server)
    assert (result.exit_code, result.stdout) == (0, '{"warm":1}\n')
    assert "loading model" in result.stderr
    assert "already warm" in result.stderr
    result = run("warmup", "--force", "--quiet", server=server)
    assert (result.exit_code, result.stderr) == (0, "")


def test_schema_prints_the_built_in_schema() -> None:
    result = run("schema")
    assert result.exit_code == 0
    assert result.stdout == builtin_ir_schema_text()


def test_version_with_a_target_prints_the_servers_versions(server: ContractServer) -> None:
    set_health(server, status_pb2.PHASE_READY)
    alone = run("version")
    assert alone.stdout.startswith("genir ")
    assert len(alone.stdout.splitlines()) == 1
    both = run("version", "--target", server.target)
    assert "server genir 0.9.1\nserver vllm 0.32.0\n" in both.stdout


@pytest.mark.parametrize(
    ("command", "named"), [("serve", "genir_server.__main__"), ("node", "genir_server.node")]
)
def test_command_passes_its_arguments_to_the_server(
    monkeypatch: pytest.MonkeyPatch, command: str, named: str
) -> None:
    handed: list[list[str]] = []

    def fake_main(argv: list[str]) -> int:
        handed.append(argv)
        return 42

    module = types.ModuleType(named)
    module.main = fake_main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "genir_server", types.ModuleType("genir_server"))
    monkeypatch.setitem(sys.modules, named, module)
    assert run(command, "--port", "1", "-x", "--help", "more").exit_code == 42
    assert handed == [["--port", "1", "-x", "--help", "more"]]


SERVE_WITHOUT = """
import sys

class NotInstalled:
    def find_spec(self, name, path, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, NotInstalled())
sys.argv = ["genir", "serve"]
from genir.cli import main
main()
"""


@pytest.mark.parametrize("missing", ["genir_server", "structlog"])
def test_serve_names_what_to_install(missing: str) -> None:
    program = SERVE_WITHOUT.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 7
    assert done.stdout == b""
    stderr = done.stderr.decode()
    assert f"needs {missing}" in stderr
    assert "pip install 'genir[gpu]'" in stderr
    assert "Traceback" not in stderr


def test_help_lists_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "130  interrupted with Ctrl-C" in result.stdout
    assert run("generate", "--help").exit_code == 0
