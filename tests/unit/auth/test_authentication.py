"""Authentication over a real channel: tokens, certificates, permissions."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from bench.support.certificates import Authority
from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.auth.authentication import METHOD_PERMISSIONS
from genir_server.auth.callers import Callers, CallersError, read_callers
from genir_server.domain.caller import Caller, Permission
from tests.support.in_process_server import (
    GOOD,
    REQUEST,
    STREAM_REQUEST,
    HeldEngine,
    bearer,
    digest,
    refusal,
    serving,
)
from tests.support.scripted_engine import TEXT_SCHEMA, ScriptedEngine, StuckEngine

if TYPE_CHECKING:
    from pathlib import Path

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED

FILE = f"""
[callers.writer]
tokens = ["{digest("writer-token")}", "{digest("writer-next")}"]
permissions = ["generate"]

[callers.warmer]
tokens = ["{digest("warmer-token")}"]
permissions = ["warmup"]

[callers.operations]
tokens = ["{digest("operations-token")}"]
certificates = ["ops.example.org", "spiffe://example.org/ops", "old-ops"]
permissions = ["generate", "warmup", "debug"]
"""


@pytest.fixture
def callers_file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.toml"
    path.write_text(FILE)
    return path


def calls(stub: Any, channel: grpc.aio.Channel, metadata: Any) -> dict[str, Any]:
    """Starts one call of each method that needs a permission."""
    # Not through its stub: grpc.aio's client reports INTERNAL for a stream's message that is late.
    reflection: Any = channel.unary_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    return {
        "generate": stub.GenerateIR(REQUEST, metadata=metadata),
        "stream": stub.StreamIR(STREAM_REQUEST, metadata=metadata),
        "warmup": stub.Warmup(ir_service_pb2.WarmupRequest(), metadata=metadata),
        "health": stub.Health(ir_service_pb2.HealthRequest(), metadata=metadata),
        "deep health": stub.Health(ir_service_pb2.HealthRequest(deep=True), metadata=metadata),
        "reflection": reflection(listing, metadata=metadata),
    }


async def outcome(call: Any) -> str:
    """The outcome of a call: "OK", or the code and message of its refusal."""
    try:
        code, reason, message = await refusal(call)
    except AssertionError:
        return "OK"
    assert reason == code.name
    return f"{code.name}: {message}"


@pytest.mark.parametrize(
    ("token", "allowed"),
    [
        ("writer-token", {"generate", "stream", "health"}),
        ("writer-next", {"generate", "stream", "health"}),
        ("warmer-token", {"warmup", "health"}),
        (
            "operations-token",
            {"generate", "stream", "warmup", "health", "deep health", "reflection"},
        ),
    ],
)
async def test_caller_has_the_permissions_of_the_file(
    callers_file: Path, token: str, allowed: set[str]
) -> None:
    async with (
        serving(auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        made = calls(served.stub(channel), channel, bearer(token))
        outcomes = {name: await outcome(call) for name, call in made.items()}
    assert {name for name, each in outcomes.items() if each == "OK"} == allowed
    refused = {each for each in outcomes.values() if each != "OK"}
    assert refused <= {"PERMISSION_DENIED: this caller may not do that"}


async def test_schema_workers_are_shared_by_caller_not_by_host(
    callers_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = generation_pb2.GenerationSpec(prompt="hi", json_schema=TEXT_SCHEMA)
    check = ir_service_pb2.CheckSchemaRequest(json_schema=TEXT_SCHEMA)
    warmup = ir_service_pb2.WarmupRequest(json_schemas=[TEXT_SCHEMA])
    async with (
        serving(auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        monkeypatch.setattr(served.schemas, "known", lambda _: None)
        generate = ir_service_pb2.GenerateIRRequest(spec=spec)
        await stub.GenerateIR(generate, metadata=bearer("writer-token"))
        await stub.CheckSchema(check, metadata=bearer("operations-token"))
        await stub.Warmup(warmup, metadata=bearer("warmer-token"))
    asked_by = [caller for caller in served.schemas.asked_by if caller]
    assert asked_by == ["writer", "operations", "warmer"]


async def test_priority_ranks_across_callers_only_with_the_permission(
    callers_file: Path,
) -> None:
    callers_file.write_text(
        FILE + f'[callers.urgent]\ntokens = ["{digest("urgent")}"]\n'
        'permissions = ["generate", "priority"]\n'
    )
    spec = generation_pb2.GenerationSpec(prompt="hi", priority=-1000)
    request = ir_service_pb2.GenerateIRRequest(spec=spec)
    engine = ScriptedEngine(GOOD, GOOD, GOOD)
    async with (
        serving(engine, auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        for token in ("operations-token", "urgent"):
            await stub.GenerateIR(request, metadata=bearer(token))
    async with (
        serving(engine) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        await served.stub(channel).GenerateIR(request)
    assert [each.priority for each in engine.requests] == [0, -1000, 0]


async def test_calls_are_counted_by_caller_not_by_host(callers_file: Path) -> None:
    engine = StuckEngine(GOOD, GOOD)
    async with (
        serving(engine, auth_file=callers_file, max_calls_per_caller=1) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        first = stub.GenerateIR(REQUEST, metadata=bearer("writer-token"))
        await engine.started.wait()
        code, reason, _ = await refusal(stub.GenerateIR(REQUEST, metadata=bearer("writer-next")))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        other = stub.GenerateIR(REQUEST, metadata=bearer("operations-token"))
        engine.release.set()
        assert [(await call).ir_json for call in (first, other)] == [GOOD, GOOD]


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer(""),
        bearer("   "),
        (("authorization", "Bearer"),),
        (("authorization", ""),),
        (*bearer("writer-token"), *bearer("writer-token")),
        (*bearer("writer-token"), *bearer("")),
        bearer("wrong"),
        bearer("writer-token2"),
        bearer("writer-toke"),
        bearer(digest("writer-token")),
        (("authorization", "writer-token"),),
        (("authorization", "Basic writer-token"),),
        (*bearer("writer-token"), *bearer("wrong")),
        (("x-authorization", "Bearer writer-token"),),
    ],
)
async def test_unknown_caller_gets_the_same_error_for_every_mistake(
    callers_file: Path, metadata: Any
) -> None:
    async with (
        serving(auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        made = calls(served.stub(channel), channel, metadata)
        outcomes = {await outcome(call) for call in made.values()}
        health: Any = health_pb2_grpc.HealthStub(channel)
        open_to_all = await health.Check(health_pb2.HealthCheckRequest(service="readiness"))
    assert outcomes == {"UNAUTHENTICATED: the call has no valid credentials"}
    assert open_to_all.status == health_pb2.HealthCheckResponse.SERVING


async def test_unknown_caller_is_refused_before_its_message_arrives(callers_file: Path) -> None:
    """The refusal comes although the client never sends its message."""
    async with (
        serving(auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        call: Any = channel.stream_unary("/genir.v1.IRService/GenerateIR")(metadata=bearer("wrong"))
        code, reason, _ = await refusal(call)
    assert (code, reason) == (UNAUTHENTICATED, "UNAUTHENTICATED")


async def test_new_callers_file_applies_to_new_calls_while_streams_go_on(
    callers_file: Path,
) -> None:
    engine = HeldEngine(*[GOOD] * 8)
    async with (
        serving(engine, auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        files = served.access.authentication.files
        assert files is not None
        stream = stub.StreamIR(STREAM_REQUEST, metadata=bearer("writer-token"))
        assert (await stream.read()).WhichOneof("event") == "accepted"

        callers_file.write_text(FILE.replace(digest("writer-token"), digest("another")))
        files.check()
        assert (await stub.GenerateIR(REQUEST, metadata=bearer("another"))).ir_json == GOOD
        code, _, _ = await refusal(stub.GenerateIR(REQUEST, metadata=bearer("writer-token")))
        assert code is UNAUTHENTICATED

        for broken in ("[callers", "", '[callers.x]\ntokens = ["secret"]\npermissions = ["all"]'):
            callers_file.write_text(broken)
            files.check()
            assert (await stub.GenerateIR(REQUEST, metadata=bearer("another"))).ir_json == GOOD

        engine.release.set()
        events = []
        while (event := await stream.read()) is not grpc.aio.EOF:
            events.append(event.WhichOneof("event"))
        assert events[-1] == "completed"


async def test_callers_file_is_polled(callers_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genir_server.auth.watched_files.POLL_SECONDS", 0.05)
    async with (
        serving(auth_file=callers_file) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        served.access.start()
        callers_file.write_text(FILE.replace(digest("writer-token"), digest("another")))
        for _ in range(100):
            call = served.stub(channel).GenerateIR(REQUEST, metadata=bearer("another"))
            if await outcome(call) == "OK":
                break
        else:
            pytest.fail("the new token was never accepted")
        served.access.stop()


@pytest.mark.parametrize(
    ("common_name", "names", "known"),
    [
        ("any", (x509.DNSName("ops.example.org"),), True),
        ("any", (x509.UniformResourceIdentifier("spiffe://example.org/ops"),), True),
        ("old-ops", (), True),
        ("old-ops", (x509.DNSName("other.example.org"),), False),
        ("any", (x509.RFC822Name("ops.example.org"),), False),
        ("stranger", (), False),
    ],
)
async def test_certificate_identifies_the_caller(
    callers_file: Path,
    tmp_path: Path,
    common_name: str,
    names: tuple[x509.GeneralName, ...],
    *,
    known: bool,
) -> None:
    authority = Authority()
    own = authority.issue(common_name, *names)
    settings = mutual_tls(authority, tmp_path)
    credentials = grpc.ssl_channel_credentials(authority.certificate, own.key, own.certificate)
    async with (
        serving(auth_file=callers_file, **settings) as served,
        grpc.aio.secure_channel(served.target, credentials) as channel,
    ):
        stub = served.stub(channel)
        seen = await outcome(stub.Health(ir_service_pb2.HealthRequest(deep=True)))
        assert (seen == "OK") is known
        # A token takes precedence over the certificate, also if it is wrong.
        health = ir_service_pb2.HealthRequest()
        wrong = await outcome(stub.Health(health, metadata=bearer("wrong")))
        assert wrong.startswith("UNAUTHENTICATED")
        assert await outcome(stub.Health(health, metadata=bearer("writer-token"))) == "OK"


async def test_any_certificate_of_the_authority_has_all_permissions_without_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority()
    own = authority.issue("somebody\nforged line")
    credentials = grpc.ssl_channel_credentials(authority.certificate, own.key, own.certificate)
    async with (
        serving(**mutual_tls(authority, tmp_path)) as served,
        grpc.aio.secure_channel(served.target, credentials) as channel,
    ):
        made = calls(served.stub(channel), channel, ())
        assert {await outcome(call) for call in made.values()} == {"OK"}
    assert "somebody\nforged" not in "".join(capsys.readouterr())


async def test_certificate_with_a_blank_name_identifies_nobody(tmp_path: Path) -> None:
    authority = Authority()
    own = authority.issue(" ")
    credentials = grpc.ssl_channel_credentials(authority.certificate, own.key, own.certificate)
    async with (
        serving(**mutual_tls(authority, tmp_path)) as served,
        grpc.aio.secure_channel(served.target, credentials) as channel,
    ):
        code, _, _ = await refusal(served.stub(channel).GenerateIR(REQUEST))
    assert code is UNAUTHENTICATED


def mutual_tls(authority: Authority, folder: Path) -> dict[str, Any]:
    authority.server().write(folder / "tls.crt", folder / "tls.key")
    (folder / "ca.crt").write_bytes(authority.certificate)
    return {
        "tls_cert": folder / "tls.crt",
        "tls_key": folder / "tls.key",
        "tls_client_ca": folder / "ca.crt",
    }


def test_every_method_has_a_permission() -> None:
    service = ir_service_pb2.DESCRIPTOR.services_by_name["IRService"]
    assert {method.name for method in service.methods} <= set(METHOD_PERMISSIONS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "callers = 1",
        "[callers]",
        "[callers.a]",
        '[callers.a]\ntokens = ["plain-secret"]\npermissions = ["generate"]',
        f'[callers.a]\ntokens = ["{digest("plain-secret")}"]',
        f'[callers.a]\ntokens = ["{digest("plain-secret")}"]\npermissions = ["admin"]',
        f'[callers.a]\ntokens = "{digest("plain-secret")}"\npermissions = ["generate"]',
        '[callers.a]\npermissions = ["generate"]',
        f'[callers."a b"]\ntokens = ["{digest("plain-secret")}"]\npermissions = ["generate"]',
        '[callers.a]\ncertificates = ["n"]\npermissions = ["generate"]\nexpires = 1',
        (
            f'[callers.a]\ntokens = ["{digest("x")}"]\npermissions = ["generate"]\n'
            f'[callers.b]\ntokens = ["{digest("x")}"]\npermissions = ["generate"]'
        ),
        '[callers.a]\ntokens = ["plain-secret]\n',
        "plain-secret",
        '[others.a]\ntokens = ["plain-secret"]',
        '[callers.a]\ncertificates = [" "]\npermissions = ["generate"]',
        *(
            f'[callers.a]\ntokens = ["{digest("good")}", "{digest(blank)}"]\n'
            'permissions = ["generate"]'
            for blank in ("", " ", "\t", "\n", "\r\n")
        ),
    ],
)
def test_error_of_a_malformed_file_does_not_quote_it(text: str) -> None:
    with pytest.raises(CallersError) as caught:
        read_callers(text)
    assert "plain-secret" not in str(caught.value)
    assert not re.search("[0-9a-f]{64}", str(caught.value))
    assert digest("plain-secret") not in str(caught.value)


@pytest.mark.parametrize("token", [b"", b" ", b"\n"])
def test_no_caller_has_a_blank_token(token: bytes) -> None:
    caller = Caller("a", frozenset({Permission.GENERATE}))
    callers = Callers({hashlib.sha256(token).digest(): caller}, {})
    assert callers.with_token(token) is None


def test_every_known_digest_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callers = read_callers(FILE)
    seen: list[bytes] = []

    def compare(known: bytes, given: bytes) -> bool:
        seen.append(given)
        return known == given

    monkeypatch.setattr("genir_server.auth.callers.hmac.compare_digest", compare)
    for token in (b"writer-token", b"operations-token", b"nobody's"):
        seen.clear()
        callers.with_token(token)
        assert len(seen) == 4


def test_output_of_the_token_command_works(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    command = [sys.executable, "-m", "genir.cli", "token", "ci", "--permission", "warmup"]
    done = subprocess.run(
        [*command, "--token-file", str(token_file)], capture_output=True, text=True, check=True
    )
    token = token_file.read_text().strip()
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert token not in done.stdout + done.stderr
    caller = read_callers(done.stdout).with_token(token.encode())
    assert caller is not None
    assert (caller.name, set(caller.permissions)) == ("ci", {Permission.WARMUP})

    shown = subprocess.run(
        [sys.executable, "-m", "genir.cli", "token", "other"],
        capture_output=True,
        text=True,
        check=True,
    )
    both: Callers = read_callers(done.stdout + shown.stdout)
    other = both.with_token(shown.stderr.split()[-1].encode())
    assert other is not None
    assert (other.name, set(other.permissions)) == ("other", {Permission.GENERATE})
    again = subprocess.run(
        [*command, "--token-file", str(token_file)], capture_output=True, check=False
    )
    assert again.returncode == 2
    assert token_file.read_text().strip() == token


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--allow-insecure"),  # noqa: S104 - that is what is refused.
        (["--host", "::"], "--allow-insecure"),
        (["--host", "example.org"], "--allow-insecure"),
        (["--host", "::ffff:0.0.0.0"], "--allow-insecure"),
        (["--host", "0.0.0.0", "--auth-file", "callers.toml"], "--allow-insecure"),  # noqa: S104
        (
            ["--host", "0.0.0.0", "--tls-cert", "c", "--tls-key", "k"],  # noqa: S104
            "--allow-insecure",
        ),
        (["--tls-cert", "c"], "go together"),
        (["--tls-client-ca", "c"], "needs --tls-cert"),
        (["--auth-file", "/nonexistent/callers.toml"], "/nonexistent/callers.toml"),
        (["--tls-cert", "/nonexistent/c", "--tls-key", "/nonexistent/k"], "/nonexistent/c"),
    ],
)
def test_insecure_settings_are_refused_in_one_line(arguments: list[str], message: str) -> None:
    from genir_server.app import run

    code, line = started(run, arguments)
    assert code == 2
    assert message in line
    assert line.count("\n") == 1


def started(run: Any, arguments: list[str]) -> tuple[int, str]:
    import contextlib
    import io

    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        code = run(arguments)
    return code, stderr.getvalue()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    from genir_server.settings import ServerSettings

    assert ServerSettings.model_validate({"host": host}).host == host


def test_allow_insecure_permits_other_addresses() -> None:
    from genir_server.settings import ServerSettings

    given = json.dumps({"host": "0.0.0.0", "allow_insecure": True})  # noqa: S104
    assert ServerSettings.model_validate_json(given).allow_insecure
