"""The code that runs first in the engine's processes, without an engine."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.vllm.child_process import EngineProcessConfig, backend_name

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


def test_unpickling_in_the_server_has_no_effect() -> None:
    stdout = os.fstat(1)
    # vLLM makes deep copies, which use the same code as pickling.
    copied = copy.deepcopy(EngineProcessConfig({"key": "value"}, _must_not_run))
    assert copied == {"key": "value"}
    assert isinstance(copied, EngineProcessConfig)
    assert copied.configure_logging is _must_not_run
    assert os.fstat(1) == stdout


def test_engine_process_logs_to_stderr_and_ends_with_its_parent() -> None:
    """The middle process starts an engine process that prints its process id and waits."""
    engine = textwrap.dedent("""
        import os, pickle, sys, threading
        from genir_server.engine.vllm.child_process import EngineProcessConfig
        pickle.loads(pickle.dumps(EngineProcessConfig({}, None, server_pid=1)))
        print(f"engine {os.getpid()}", flush=True)
        threading.Event().wait()
    """)
    middle = textwrap.dedent(f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-c", {engine!r}])
    """)
    with subprocess.Popen(
        [sys.executable, "-c", middle],
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


def test_engine_process_adopts_the_environment_of_its_starter() -> None:
    script = textwrap.dedent("""
        import os, pickle
        from genir_server.engine.vllm.child_process import EngineProcessConfig
        os.environ["THEIRS"] = "1"
        sent = pickle.dumps(EngineProcessConfig({}, None, server_pid=1))
        del os.environ["THEIRS"]
        os.environ["OURS"] = "1"
        pickle.loads(sent)
        assert os.environ.get("THEIRS") == "1"
        assert "OURS" not in os.environ
    """)
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)


def _must_not_run() -> None:
    raise AssertionError("the server's own logging was configured again")


def test_failed_start_writes_one_line_and_no_stack_trace(tmp_path: Path) -> None:
    """Imitates what vLLM and multiprocessing do with an exception, before and after the start."""
    fault = tmp_path / "fault"
    fault.touch()
    script = textwrap.dedent(f"""
        import logging, pickle, traceback
        from pathlib import Path
        from genir_server.engine.vllm.child_process import EngineProcessConfig
        pickle.loads(pickle.dumps(EngineProcessConfig({{}}, None, {str(fault)!r}, server_pid=1)))

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
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (tmp_path / "kept").read_text() == "too little memory"
    before, _, after = done.stderr.partition("started")
    assert not before.strip()
    assert after.count("Traceback") == 2
    assert "while it ran" in after
