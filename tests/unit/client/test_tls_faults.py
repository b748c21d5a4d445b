"""Connections that fail because one side uses TLS and the other does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from bench.support.certificates import LOCALHOST, Authority
from genir import IRClient, RetryPolicy, UnavailableError, tls_credentials
from tests.support.cli import run
from tests.support.contract_server import ContractServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.client_adapters import Caller

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[ContractServer]:
    issued = authority.issue("localhost", *LOCALHOST)
    credentials = grpc.ssl_server_credentials([(issued.key, issued.certificate)])
    with ContractServer(credentials) as server:
        yield server


async def test_plain_client_of_a_server_with_tls(
    connect: Callable[..., Caller], secure: ContractServer
) -> None:
    with pytest.raises(UnavailableError, match=r"closes unencrypted connections, perhaps.*--tls"):
        await connect(secure.target, retry=ONCE).generate("hello")


async def test_client_with_tls_of_a_plain_server(
    connect: Callable[..., Caller], server: ContractServer
) -> None:
    client = connect(server.target, retry=ONCE, credentials=tls_credentials())
    with pytest.raises(UnavailableError, match="does not use TLS: leave out the credentials") as e:
        await client.generate("hello")
    assert server.target in e.value.message
    assert isinstance(e.value.__cause__, grpc.RpcError)


def test_certificate_of_an_unknown_authority(secure: ContractServer) -> None:
    with (
        IRClient(secure.target, retry=ONCE, credentials=tls_credentials()) as client,
        pytest.raises(UnavailableError, match=r"certificate that is not trusted.*--ca"),
    ):
        client.generate("hello")


@pytest.mark.parametrize("call", ["generate", "health"])
async def test_client_without_the_certificate_that_a_server_wants(
    connect: Callable[..., Caller], tmp_path: Path, authority: Authority, call: str
) -> None:
    issued = authority.issue("localhost", *LOCALHOST)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    wanted = grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], authority.certificate, require_client_auth=True
    )
    with ContractServer(wanted) as server:
        client = connect(server.target, retry=ONCE, credentials=tls_credentials(ca=ca))
        with pytest.raises(UnavailableError, match=r"perhaps .* client certificate") as raised:
            await (client.generate("hello") if call == "generate" else client.health())
    assert "--cert and --key" in raised.value.message
    assert "unencrypted" not in raised.value.message


def test_certificate_of_another_name(tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue("elsewhere", LOCALHOST[0])
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    credentials = grpc.ssl_server_credentials([(issued.key, issued.certificate)])
    with (
        ContractServer(credentials) as server,
        IRClient(server.target, retry=ONCE, credentials=tls_credentials(ca=ca)) as client,
        pytest.raises(UnavailableError, match="certificate for other names than this target"),
    ):
        client.generate("hello")


def test_refused_connection_keeps_the_text_of_grpc() -> None:
    with (
        IRClient("127.0.0.1:9", retry=ONCE) as client,
        pytest.raises(UnavailableError, match="Connection refused") as raised,
    ):
        client.generate("hello")
    assert raised.value.metadata == {}


def test_command_line_says_it_in_one_line(secure: ContractServer, server: ContractServer) -> None:
    plain = run("generate", "hello", server=secure)
    assert plain.exit_code == 3
    assert len(plain.stderr.splitlines()) == 1
    assert "--tls" in plain.stderr
    tls = run("generate", "hello", "--tls", server=server)
    assert tls.exit_code == 3
    assert len(tls.stderr.splitlines()) == 1
    assert "does not use TLS" in tls.stderr
