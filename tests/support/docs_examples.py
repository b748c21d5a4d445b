"""Finds the examples in a page of the documentation, and runs them against a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
_DOCUMENTED_TARGET = "127.0.0.1:50051"
_MAX_SECONDS = 400


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_shell(command: str, folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of bash with the server's address instead of the documented one."""
    return _run(["bash", "-c", command.replace(_DOCUMENTED_TARGET, target)], folder, target)


def run_python(example: str, folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python example, with warnings as errors, against the server."""
    program = example.replace(_DOCUMENTED_TARGET, target)
    return _run([sys.executable, "-W", "error", "-c", program], folder, target)


def _run(command: list[str], folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GENIR_TARGET": target}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_MAX_SECONDS,
    )
