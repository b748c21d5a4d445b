"""The unit for systemd is valid, and fits the server's signals, exit codes and times."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from genir_server import command
from genir_server.engine.protocol import END_SECONDS
from genir_server.observability.telemetry import TRACE_FLUSH_SECONDS
from genir_server.settings import ServerSettings
from genir_server.supervision.shutdown import CUT_OFF_GRACE_SECONDS

UNIT = Path(__file__).parents[3] / "deploy" / "systemd" / "genir.service"


def values(name: str) -> list[str]:
    lines = UNIT.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def environment() -> dict[str, str]:
    words = " ".join(values("Environment")).split()
    return dict(word.split("=", 1) for word in words)


def test_environment_has_settings_of_the_server() -> None:
    ours = {name for name in environment() if name.startswith("GENIR_")}
    fields = {f"GENIR_{name}".upper() for name in ServerSettings.model_fields}
    # A folder, which is not a setting of `genir serve`.
    assert ours - fields == {"GENIR_CACHE_DIR"}


def test_stop_outlasts_the_drain_which_outlasts_a_call() -> None:
    drain = float(environment()["GENIR_DRAIN_TIMEOUT"])
    assert drain >= ServerSettings.model_fields["default_deadline"].default
    (stop,) = values("TimeoutStopSec")
    ends = END_SECONDS + TRACE_FLUSH_SECONDS + CUT_OFF_GRACE_SECONDS
    assert float(stop) > drain + ends
    # The engine's processes are needed for the drain.
    assert values("KillMode") == ["mixed"]


def test_reload_and_restart_fit_signals_and_exit_codes() -> None:
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    (codes,) = values("RestartPreventExitStatus")
    assert {int(code) for code in codes.split()} == {command.EXIT_SETTINGS, command.EXIT_ADDRESS}
    assert values("Restart") == ["on-failure"]


def test_gpus_and_compiled_kernels_are_not_forbidden() -> None:
    for name in ("PrivateDevices", "MemoryDenyWriteExecute", "DevicePolicy", "PrivateNetwork"):
        assert values(name) == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/genir/bin/genir", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("KillMode=", "KillMood="))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "KillMood" in done.stderr
