"""The code that runs first in the engine's processes, without an engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.config import LogSetup
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm import child_process
from genir_server.engine.vllm.child_process import (
    BACKEND_UTILITY,
    backend_name,
    engine_processes,
    register,
)
from genir_server.engine.vllm.environment import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


class GuidanceBackend:
    pass


class XgrammarBackend:
    pass


class LMFormatEnforcerBackend:
    pass


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        (None, ""),
        (GuidanceBackend(), "guidance"),
        (XgrammarBackend(), "xgrammar"),
        (LMFormatEnforcerBackend(), "lm-format-enforcer"),
    ],
)
def test_backend_names_match_vllms_configuration(backend: object, name: str) -> None:
    assert backend_name(backend) == name


PLAIN = json.dumps({"server_pid": 1, "start_fault": "", "load_progress": "", "log": None})


def test_registering_in_the_server_only_adds_utilities(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = os.fstat(1)
    settings = {
        "server_pid": os.getpid(),
        "start_fault": "",
        "load_progress": "",
        "log": ("no.such", "module", []),
    }
    for value in (json.dumps(settings), "{}"):
        monkeypatch.setenv(VARIABLE, value)
        register()
        assert os.fstat(1) == stdout
    assert not [each for each in threading.enumerate() if each.name == "genir-parent-watch"]


def test_settings_reach_only_processes_started_in_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = LogSetup("logging", "basicConfig", ())
    with engine_processes(log, "/fault", "/progress"):
        sent = json.loads(os.environ[VARIABLE])
    assert sent == {
        "server_pid": os.getpid(),
        "start_fault": "/fault",
        "load_progress": "/progress",
        "log": ["logging", "basicConfig", []],
    }
    assert VARIABLE not in os.environ
    monkeypatch.setattr(child_process, "entry_points", lambda **_: ())
    with pytest.raises(EngineStartError, match="install genir again"), engine_processes(None):
        pass


def test_vllm_finds_the_plugin_in_every_process_that_loads_plugins() -> None:
    """VLLM's own loader, in a new program that has nothing else of genir."""
    script = textwrap.dedent(f"""
        import warnings
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.environment import prepare_environment
        prepare_environment()
        import vllm.v1.engine.core as core
        from vllm.plugins import load_general_plugins
        load_general_plugins()
        assert hasattr(core.EngineCore, {BACKEND_UTILITY!r})
    """)
    environment = {**os.environ, "VLLM_PLUGINS": "another"}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=120, check=True)


def test_log_of_an_engine_process_is_set_up_as_the_server_says() -> None:
    script = textwrap.dedent("""
        import logging
        from genir_server.engine.vllm.child_process import register
        register()
        logging.getLogger("vllm.x").warning("told")
    """)
    log = ["genir_server.observability.logging", "configure_logging", ["json", "info"]]
    settings = {"server_pid": 1, "start_fault": "", "load_progress": "", "log": log}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: json.dumps(settings)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "told"


def test_engine_process_logs_to_stderr_and_ends_with_its_parent() -> None:
    """The middle process starts an engine process that prints its process id and waits."""
    engine = textwrap.dedent("""
        import os, threading
        from genir_server.engine.vllm.child_process import register
        register()
        print(f"engine {os.getpid()}", flush=True)
        threading.Event().wait()
    """)
    middle = textwrap.dedent(f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-c", {engine!r}])
    """)
    with subprocess.Popen(
        [sys.executable, "-c", middle],
        env={**os.environ, VARIABLE: PLAIN},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("engine ")
        process.kill()
        # The pipes reach their end when the last process that holds them has ended.
        output, _ = process.communicate(timeout=30)
        assert output == ""


def test_forked_core_adopts_the_environment_of_its_starter() -> None:
    script = textwrap.dedent("""
        import os
        from genir_server.engine.cpu_fork.forked_core import settle_forked_core
        started = {**os.environ, "THEIRS": "1"}
        os.environ["OURS"] = "1"
        settle_forked_core(started, os.sched_getaffinity(0))
        assert os.environ.get("THEIRS") == "1"
        assert "OURS" not in os.environ
    """)
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)


def test_a_process_that_is_not_forked_keeps_its_environment() -> None:
    """A Ray actor has variables of its own, such as its GPUs and its address."""
    script = textwrap.dedent("""
        import os
        from genir_server.engine.vllm.child_process import register
        os.environ["CUDA_VISIBLE_DEVICES"] = "3"
        before = dict(os.environ)
        register()
        assert dict(os.environ) == before
    """)
    environment = {**os.environ, VARIABLE: PLAIN}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=True)


def test_failed_start_writes_one_line_and_no_stack_trace(tmp_path: Path) -> None:
    """Imitates what vLLM and multiprocessing do with an exception, before and after the start."""
    fault = tmp_path / "fault"
    fault.touch()
    settings = json.dumps(
        {"server_pid": 1, "start_fault": str(fault), "load_progress": "", "log": None}
    )
    script = textwrap.dedent(f"""
        import logging, traceback
        from pathlib import Path
        from genir_server.engine.vllm.child_process import register
        register()

        def fail(text):
            try:
                raise RuntimeError(text)
            except RuntimeError:
                logging.getLogger("vllm.v1.engine.core").exception("EngineCore failed.")
                traceback.print_exc()

        fail("too little memory\\nsecond line")
        fail("a later fault")
        print("started")
        Path({str(fault)!r}).rename({str(tmp_path / "kept")!r})
        fail("while it ran")
    """)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (tmp_path / "kept").read_text() == "too little memory"
    before, _, after = done.stderr.partition("started")
    assert not before.strip()
    assert after.count("Traceback") == 2
    assert "while it ran" in after
