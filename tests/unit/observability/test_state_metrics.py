"""Metrics that are read at a scrape: memory of the processes, expiry of the certificates."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from prometheus_client import CollectorRegistry
from pydantic_settings import CliApp

from bench.support.certificates import LOCALHOST, Authority
from genir_server.admission import Admission, AdmissionLimits
from genir_server.app import ServerProcess
from genir_server.auth.access_control import AccessControl, AccessFiles
from genir_server.auth.tls import LiveCertificates
from genir_server.core.self_test import SelfTest
from genir_server.engine.protocol import EngineActivity, RankActivity
from genir_server.observability.metrics import Metrics
from genir_server.observability.metrics_processes import ProcessMemoryCollector
from genir_server.schema.isolation.worker_client import WorkerProcess
from genir_server.settings import ServerSettings
from genir_server.supervision.lifecycle import Lifecycle
from tests.support.scripted_engine import Schemas, ScriptedEngine, generator_with, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY = "genir_process_resident_memory_bytes"
EXPIRY = "genir_certificate_expiry_timestamp_seconds"
MEBIBYTE = 1 << 20
FIRST_END = dt.datetime(2041, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
LAST_END = dt.datetime(2042, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
# Takes memory in a process of its own, prints a line, and waits.
TAKES_MEMORY = (
    "import subprocess, sys\n"
    "if sys.argv[1:]:\n"
    "    child = subprocess.Popen([sys.executable, '-c', sys.argv[1]])\n"
    "    child.wait()\n"
    "data = b'x' * (64 << 20)\n"
    "print('taken', flush=True)\n"
    "sys.stdin.read()\n"
)


def memory() -> dict[str, float]:
    """Process -> its resident memory, as scraped."""
    registry = CollectorRegistry()
    registry.register(ProcessMemoryCollector())
    (family,) = registry.collect()
    return {sample.labels["process"]: sample.value for sample in family.samples}


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", TAKES_MEMORY, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"taken\n"
        yield process
    finally:
        for each in psutil.Process(process.pid).children(recursive=True):
            each.kill()
        process.kill()
        process.communicate()


@pytest.mark.parametrize("arguments", [(), (TAKES_MEMORY,)], ids=["child", "grandchild"])
def test_memory_of_processes_below_the_server_is_the_engines(arguments: tuple[str, ...]) -> None:
    before = memory()
    assert before["server"] > MEBIBYTE
    with child(*arguments):
        after = memory()
    assert 64 * MEBIBYTE <= after["engine"] - before["engine"] < 512 * MEBIBYTE
    assert after["workers"] == before["workers"]
    assert memory()["engine"] == before["engine"]


async def test_memory_of_workers_has_a_value_of_its_own() -> None:
    before = memory()
    worker = await WorkerProcess.start("test")
    try:
        after = memory()
    finally:
        worker.kill()
        await worker.wait()
    assert after["workers"] - before["workers"] > MEBIBYTE
    assert after["engine"] == before["engine"]


@pytest.mark.parametrize("method", ["children", "cmdline", "memory_info"])
def test_processes_that_end_during_a_scrape_are_left_out(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    original = getattr(psutil.Process, method)

    def ended(process: psutil.Process, **arguments: bool) -> object:
        if process.pid == psutil.Process().pid:
            return original(process, **arguments)
        raise psutil.NoSuchProcess(process.pid)

    with child():
        before = memory()
        with monkeypatch.context() as patched:
            patched.setattr(psutil.Process, method, ended)
            after = memory()
    assert set(after) == {"server", "engine", "workers"}
    assert after["engine"] <= before["engine"]


def issue(folder: Path, *ends: dt.datetime) -> AccessFiles:
    """Files of a certificate that ends first and, in the same file, others."""
    authority = Authority()
    issued = [authority.issue("server", *LOCALHOST, expires=end) for end in ends]
    files = AccessFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    assert files.tls_cert
    assert files.tls_key
    assert files.tls_client_ca
    files.tls_cert.write_bytes(b"".join(each.certificate for each in issued))
    files.tls_key.write_bytes(issued[0].key)
    files.tls_client_ca.write_bytes(authority.certificate)
    return files


def test_first_certificate_of_each_file_decides_when_it_expires(tmp_path: Path) -> None:
    files = issue(tmp_path, LAST_END, FIRST_END)
    expiry = AccessControl(files).certificate_expiry()
    assert expiry["tls_cert"] == FIRST_END.timestamp()
    in_two_days = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    assert abs(expiry["tls_client_ca"] - in_two_days.timestamp()) < 3600


def test_expiry_follows_a_replaced_certificate_but_not_a_damaged_one(tmp_path: Path) -> None:
    files = issue(tmp_path, FIRST_END)
    assert files.tls_cert
    assert files.tls_key
    certificates = LiveCertificates(files.tls_cert, files.tls_key)
    assert certificates.expiry == {"tls_cert": FIRST_END.timestamp()}
    issue(tmp_path, LAST_END)
    certificates.files.check()
    assert certificates.expiry == {"tls_cert": LAST_END.timestamp()}
    files.tls_cert.write_text("damaged")
    certificates.files.check()
    assert certificates.expiry == {"tls_cert": LAST_END.timestamp()}


def test_server_with_certificates_exposes_their_expiry(tmp_path: Path) -> None:
    files = issue(tmp_path, FIRST_END)
    arguments = ["--tls-cert", str(files.tls_cert), "--tls-key", str(files.tls_key)]
    settings = CliApp.run(ServerSettings, cli_args=arguments)
    registry = ServerProcess(settings)._telemetry.metrics.registry
    assert registry.get_sample_value(EXPIRY, {"file": "tls_cert"}) == FIRST_END.timestamp()
    assert registry.get_sample_value(EXPIRY, {"file": "tls_client_ca"}) is None


def test_server_without_certificates_has_no_expiry() -> None:
    metrics = Metrics(
        Lifecycle(),
        Admission(AdmissionLimits()),
        model="m",
        configured_backend="guidance",
        versions={"genir": "1"},
    )
    (family,) = (each for each in metrics.registry.collect() if each.name == EXPIRY)
    assert family.samples == []
    assert metrics.registry.get_sample_value(MEMORY, {"process": "server"})


def test_state_of_the_engine_is_reported_for_each_rank() -> None:
    class TwoRanks(ScriptedEngine):
        def activity(self) -> EngineActivity:
            ranks = (RankActivity(0, 2, 1, 50.0, 0.25), RankActivity(1, 3, 0, None, 0.5))
            return EngineActivity(ranks, in_transit=4)

    schema = prepared()
    lifecycle = Lifecycle()
    generator = generator_with(TwoRanks(), Schemas(schema), schema)
    lifecycle.attach(generator, SelfTest(generator))
    metrics = Metrics(
        lifecycle,
        Admission(AdmissionLimits()),
        model="m",
        configured_backend="guidance",
        versions={},
    )
    shown = {
        (sample.name.removeprefix("genir_engine_"), sample.labels["rank"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if "rank" in sample.labels
    }
    assert shown == {
        ("requests_running", "0"): 2,
        ("requests_running", "1"): 3,
        # Nobody knows which rank the requests before the ranks' queues will go to.
        ("requests_waiting", ""): 4,
        ("requests_waiting", "0"): 1,
        ("requests_waiting", "1"): 0,
        ("last_step_timestamp_seconds", "0"): 50.0,
        ("kv_cache_usage_ratio", "0"): 0.25,
        ("kv_cache_usage_ratio", "1"): 0.5,
    }
