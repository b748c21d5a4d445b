"""Tokens and certificates of the client and its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from bench.support.certificates import Authority
from genir import AsyncIRClient, IRClient, NotAuthorizedError, tls_credentials
from genir.cli.connection import connect as connect_cli
from tests.support.contract_server import ContractServer, success
from tests.support.in_process_server import digest, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client_adapters import Caller


async def test_token_is_sent_as_a_bearer_token(
    server: ContractServer, connect: Callable[..., Caller]
) -> None:
    server.script(success("{}"))
    await connect(server.target, token="secret").generate("hi")  # noqa: S106 - a test's.
    assert server.service.calls[-1].metadata["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "target",
    ["10.0.0.1:50051", "example.org:443", "dns:///localhost.example.org:1", "127.0.0.1.evil:1"],
)
@pytest.mark.parametrize("kind", [IRClient, AsyncIRClient])
def test_token_does_not_cross_a_network_unencrypted(kind: Any, target: str) -> None:
    with pytest.raises(ValueError, match="unencrypted") as raised:
        kind(target, token="hush-hush")  # noqa: S106
    assert "hush-hush" not in str(raised.value)
    kind(target, token="hush-hush", allow_insecure_token=True)  # noqa: S106
    kind(target, token="hush-hush", credentials=tls_credentials())  # noqa: S106


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "naïve"])
def test_invalid_token_is_refused_without_quoting_it(token: str) -> None:
    with pytest.raises(ValueError, match="printable") as raised:
        IRClient("127.0.0.1:1", token=token)
    assert token not in str(raised.value)


async def test_environment_names_target_and_token(
    server: ContractServer, connect: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENIR_TARGET", server.target)
    monkeypatch.setenv("GENIR_TOKEN", "from-the-environment")
    server.script(success("{}"), success("{}"), success("{}"))
    await connect().generate("hi")
    await connect(token="argument").generate("hi")  # noqa: S106
    await connect(token="").generate("hi")
    sent = [call.metadata.get("authorization") for call in server.service.calls]
    assert sent == ["Bearer from-the-environment", "Bearer argument", None]


@pytest.mark.parametrize("kind", [IRClient, AsyncIRClient])
def test_environment_token_does_not_cross_a_network_unencrypted(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENIR_TOKEN", "hush-hush")
    with pytest.raises(ValueError, match="unencrypted") as raised:
        kind("example.org:443")
    assert "hush-hush" not in str(raised.value)


def test_empty_token_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.write_text("\n")
    with pytest.raises(typer.BadParameter, match="empty"):
        connect_cli("127.0.0.1:1", token_file=empty)


def test_certificate_without_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="together"):
        tls_credentials(cert=tmp_path / "c")


async def test_command_line_sends_certificate_and_token(tmp_path: Path) -> None:
    import asyncio

    authority = Authority()
    authority.server().write(tmp_path / "tls.crt", tmp_path / "tls.key")
    authority.issue("cli").write(tmp_path / "own.crt", tmp_path / "own.key")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "token").write_text("the-token\n")
    (tmp_path / "callers.toml").write_text(
        f'[callers.cli]\ntokens = ["{digest("the-token")}"]\npermissions = ["generate"]\n'
    )
    tls = ("--ca", "ca.crt", "--cert", "own.crt", "--key", "own.key")

    def genir(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "genir.cli", "health", *arguments],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    async with serving(
        tls_cert=tmp_path / "tls.crt",
        tls_key=tmp_path / "tls.key",
        tls_client_ca=tmp_path / "ca.crt",
        auth_file=tmp_path / "callers.toml",
    ) as served:
        target = ("--target", served.target)
        good = await asyncio.to_thread(genir, *target, *tls, "--token-file", "token")
        also = await asyncio.to_thread(genir, *target, *tls, GENIR_TOKEN="the-token")  # noqa: S106
        wrong = await asyncio.to_thread(genir, *target, *tls, GENIR_TOKEN="other-token")  # noqa: S106
    assert (good.returncode, also.returncode) == (0, 0), good.stderr + also.stderr
    assert wrong.returncode == 8
    assert "UNAUTHENTICATED" in wrong.stderr
    assert "other-token" not in wrong.stderr + wrong.stdout


async def test_exception_says_why_the_caller_is_not_authorized(tmp_path: Path) -> None:
    callers = tmp_path / "callers.toml"
    callers.write_text(f'[callers.a]\ntokens = ["{digest("t")}"]\npermissions = ["warmup"]\n')
    async with serving(auth_file=callers) as served:
        for token, reason in ((None, "UNAUTHENTICATED"), ("t", "PERMISSION_DENIED")):
            async with AsyncIRClient(served.target, token=token) as client:
                with pytest.raises(NotAuthorizedError) as refused:
                    await client.generate("hi")
                assert refused.value.reason == reason
                assert refused.value.request_id
