"""TLS on the port: which clients can connect, and what happens when the files change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bench.support.certificates import Authority, Issued
from genir_server.auth.tls import LiveCertificates
from genir_server.auth.watched_files import ReloadError
from tests.support.in_process_server import (
    GOOD,
    REQUEST,
    STREAM_REQUEST,
    HeldEngine,
    refusal,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.in_process_server import Served


class Files:
    """The TLS files of a server."""

    def __init__(self, folder: Path) -> None:
        self.cert = folder / "tls.crt"
        self.key = folder / "tls.key"
        self.client_ca = folder / "ca.crt"

    def settings(self, *, mutual: bool = False) -> dict[str, Any]:
        names = {"tls_cert": self.cert, "tls_key": self.key}
        return {**names, "tls_client_ca": self.client_ca} if mutual else dict(names)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def connect(served: Served, authority: Authority, own: Issued | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.certificate, own.key if own else None, own.certificate if own else None
    )
    # A subchannel pool of its own: channels of one process otherwise share connections.
    return grpc.aio.secure_channel(
        served.target, credentials, (("grpc.use_local_subchannel_pool", 1),)
    )


async def works(served: Served, authority: Authority, own: Issued | None = None) -> bool:
    async with connect(served, authority, own) as channel:
        try:
            answer = await served.stub(channel).GenerateIR(REQUEST, timeout=10)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - either may be.
            return False
        return bool(answer.ir_json == GOOD)


async def test_new_certificate_applies_to_new_connections_while_a_stream_goes_on(
    files: Files,
) -> None:
    old, new = Authority("old"), Authority("new")
    old.server().write(files.cert, files.key)
    engine = HeldEngine(*[GOOD] * 8)
    async with serving(engine, **files.settings()) as served, connect(served, old) as channel:
        stream = served.stub(channel).StreamIR(STREAM_REQUEST)
        assert (await stream.read()).WhichOneof("event") == "accepted"

        new.server().write(files.cert, files.key)
        served.access._certificates.files.check()  # type: ignore[union-attr]

        assert await works(served, new)
        assert not await works(served, old)
        engine.release.set()
        events = []
        while (event := await stream.read()) is not grpc.aio.EOF:
            events.append(event.WhichOneof("event"))
        assert events[-1] == "completed"
        # The old connection takes new calls, too.
        assert (await served.stub(channel).GenerateIR(REQUEST)).ir_json == GOOD


async def test_unusable_files_leave_the_old_certificate_in_force(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    good = authority.server()
    good.write(files.cert, files.key)
    async with serving(**files.settings()) as served:
        watched = served.access._certificates.files  # type: ignore[union-attr]
        files.cert.write_bytes(authority.server().certificate)  # The key does not match it.
        watched.check()
        assert await works(served, authority)
        files.cert.unlink()
        watched.check()
        assert await works(served, authority)
        good.write(files.cert, files.key)
        watched.check()
        assert await works(served, authority)
    assert "PRIVATE KEY" not in caplog.text


async def test_mutual_tls_accepts_only_certificates_of_its_authority(files: Files) -> None:
    authority, stranger = Authority(), Authority("stranger")
    authority.server().write(files.cert, files.key)
    files.client_ca.write_bytes(authority.certificate)
    async with serving(**files.settings(mutual=True)) as served:
        assert await works(served, authority, authority.issue("a caller"))
        assert not await works(served, authority)
        assert not await works(served, authority, stranger.issue("a caller"))

        files.client_ca.write_bytes(stranger.certificate)
        served.access._certificates.files.check()  # type: ignore[union-attr]
        assert await works(served, authority, stranger.issue("a caller"))
        assert not await works(served, authority, authority.issue("a caller"))


async def test_plaintext_client_cannot_connect_to_a_tls_port(files: Files) -> None:
    Authority().server().write(files.cert, files.key)
    async with (
        serving(**files.settings()) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        code, _, _ = await refusal(served.stub(channel).GenerateIR(REQUEST, timeout=5))
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_health_port_is_plaintext_and_serves_only_health(files: Files) -> None:
    Authority().server().write(files.cert, files.key)
    async with (
        serving(**files.settings()) as served,
        grpc.aio.insecure_channel(served.health_target) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="readiness")
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(request)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()

        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
        listing = reflection.ServerReflectionInfo()
        await listing.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        for call in (
            served.stub(channel).GenerateIR(REQUEST),
            served.stub(channel).StreamIR(STREAM_REQUEST),
            listing,
        ):
            code, _, _ = await refusal(call)
            assert code is grpc.StatusCode.UNIMPLEMENTED
        large = health_pb2.HealthCheckRequest(service="x" * 5000)
        code, _, _ = await refusal(health.Check(large))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def _foreign_key(files: Files) -> None:
    Authority().server().write(files.cert, files.key)
    files.key.write_bytes(Authority().server().key)


def _no_key(files: Files) -> None:
    Authority().server().write(files.cert, files.key)
    files.key.unlink()


def _passphrase(files: Files) -> None:
    Authority().issue("server", passphrase=b"hunter2").write(files.cert, files.key)


def _no_certificate(files: Files) -> None:
    Authority().server().write(files.cert, files.key)
    files.cert.write_text("this is not PEM")


@pytest.mark.parametrize("prepare", [_foreign_key, _no_key, _passphrase, _no_certificate])
def test_unusable_files_are_refused_at_start(
    files: Files, prepare: Callable[[Files], None]
) -> None:
    prepare(files)
    with pytest.raises(ReloadError) as caught:
        LiveCertificates(files.cert, files.key)
    assert str(files.key.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_authority_file_without_a_certificate_is_refused(files: Files) -> None:
    Authority().server().write(files.cert, files.key)
    files.client_ca.write_text("nothing")
    with pytest.raises(ReloadError, match="contains no certificate"):
        LiveCertificates(files.cert, files.key, files.client_ca)
