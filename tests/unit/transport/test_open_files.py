"""Limits on connections that fit the limit of open files."""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from genir_server.observability import metrics_endpoint
from genir_server.settings import ServerSettings
from genir_server.transport import open_files
from genir_server.transport.open_files import TooFewFilesError, fit_connections, raise_limit
from tests.support.in_process_server import REQUEST
from tests.support.scripted_engine import ScriptedEngine
from tests.support.transport_server import failure, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def fitted(files: int, **settings: Any) -> int | None:
    return fit_connections(ServerSettings.model_validate(settings), files).max_connections


def test_soft_limit_is_raised(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    limit = raise_limit()
    assert limit > 512
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, limits[1])


def test_default_leaves_a_reserve() -> None:
    assert fitted(65_535) == 1000
    few = fitted(256)
    assert few is not None
    assert few <= 256 - open_files.OWN_FILES
    with_ports = fitted(300, health_port=0, metrics_port=0)
    alone = fitted(300)
    assert with_ports is not None
    assert alone is not None
    assert with_ports == alone - open_files.HEALTH_CONNECTIONS - metrics_endpoint.MAX_CONNECTIONS


def test_limit_counts_for_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    one = fitted(600)
    monkeypatch.setattr(open_files, "_addresses", lambda _: 2)
    two = fitted(600)
    assert one is not None
    assert two == one // 2


def test_given_limit_is_kept_or_refused() -> None:
    assert fitted(65_535, max_connections=5000) == 5000
    with pytest.raises(TooFewFilesError, match=r"is 256, but 350 connections need \d+.*--max-conn"):
        fitted(256, max_connections=350)
    with pytest.raises(TooFewFilesError, match="ulimit -n"):
        fitted(140)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_lack_of_files_is_overloaded(number: int, *, wrapped: bool) -> None:
    error: Exception = OSError(number, "too many open files")
    if wrapped:
        outer = RuntimeError("cannot start")
        outer.__cause__ = error
        error = outer
    async with serving(ScriptedEngine(error)) as served:
        call = served.stub.GenerateIR(REQUEST)
        code, reason, _ = await failure(call)
        status = await rpc_status.aio.from_call(call)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
