"""The parts of a report. Each runs a command or a server, and returns Markdown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.gpu_report.machine import machine_rows
from bench.support.server_process import ServerProcess
from genir import IRClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gpu_report.options import Options

TARGET_VARIABLE = "GENIR_TEST_TARGET"
"""Names the server for the tests; see tests/e2e/conftest.py."""
_ROOT = Path(__file__).parents[2]
_LAST_LINES = 25
_READY_SECONDS = 3600.0


class PartError(Exception):
    """A part did not end well. The message is Markdown with what it printed."""


def machine(_: Options, __: Path) -> str:
    """GPUs, processor, memory and versions."""
    return table(("", ""), machine_rows())


def check(options: Options, _: Path) -> str:
    """What ``genir serve --check`` finds: settings, tokenizer, template, memory and patches."""
    command = ["-m", "genir_server", "--check", "--port", "0", *options.server_arguments()]
    return fenced(_run(command))


def server(options: Options, folder: Path) -> str:
    """Starts the server, and runs the tests that hold with every model against it.

    Raises:
        PartError: the server did not start, or tests failed.
    """
    try:
        # No size for the KV cache: the engine takes what it would take for a user.
        process = ServerProcess(folder, options.server_arguments(), kv_cache_gib=None)
    except RuntimeError as error:
        raise PartError(fenced(_last_lines(str(error)))) from error
    try:
        ready = process.wait_ready(seconds=_READY_SECONDS)
        with IRClient(process.target) as client:
            health = client.health()
        rows = [
            ("port open after", f"{process.port_open_after:.1f} s"),
            ("ready after", f"{ready:.1f} s"),
            ("model", health.model),
            ("context", f"{health.max_model_len:,} tokens"),
            ("backend", health.structured_output_backend),
        ]
        started = table(("", ""), rows)
        tests = _tests(options, process.target)
    except RuntimeError as error:
        raise PartError(fenced(_last_lines(str(error)))) from error
    finally:
        process.close()
    return f"{started}\n\n{tests}"


def front_ends(options: Options, folder: Path) -> str:
    """Genir and vLLM's HTTP server with this model, one after the other."""
    command = ["-m", "bench.performance", "--out", str(folder / "front_ends.json")]
    command += ["--parts", "front_ends", "--front-ends", "genir", "vLLM HTTP", "--one-at-a-time"]
    command += ["--scope", options.scope, *options.server_arguments()]
    # Its first line is its command, which has a temporary folder.
    return _run(command).partition("\n\n")[2]


def backends(options: Options, folder: Path) -> str:
    """The structured-output backends with this model, one after the other."""
    command = ["-m", "bench.generation", "--out", str(folder / "backends.json")]
    command += ["--prompts", str(options.prompts), "--", *options.server_arguments()]
    lines = _run(command).splitlines()
    # The rows that were printed as they came stand in the table too.
    return "\n".join(lines[lines.index("") + 1 :])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def fenced(text: str) -> str:
    """Text as a code block."""
    return f"```text\n{text.strip()}\n```"


def _tests(options: Options, target: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "any_model", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--tb=no", *options.tests],
        cwd=_ROOT,
        env={**os.environ, TARGET_VARIABLE: target},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    summary = lines[-1].strip("= ") if lines else f"none ran: {_last_lines(done.stderr)}"
    said = f"Tests that hold with every model: {summary}."
    if done.returncode == 0:
        return said
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    raise PartError(f"{said}\n\n{fenced(chr(10).join(failed))}")


def _run(command: Sequence[str]) -> str:
    """Runs Python with these arguments and returns what it prints.

    Raises:
        PartError: it ended with another code than 0.
    """
    done = subprocess.run(
        [sys.executable, *command], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = _last_lines(f"{done.stdout}\n{done.stderr}")
        raise PartError(f"Exit code {done.returncode}.\n\n{fenced(said)}")
    return done.stdout.strip()


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:])
