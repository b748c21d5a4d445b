"""What docs/client.md says about errors, deadlines and commands holds with a real server.

test_docs_examples.py runs every Python example. This module checks the documented outcomes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genir import DeadlineExceededError, IRClient

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess

GUIDE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
DOCUMENTED_TARGET = "127.0.0.1:50051"
COMMAND_SECONDS = 400
VERDICT = {
    "type": "object",
    "properties": {"label": {"enum": ["bug", "question", "idea"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path, target: str) -> str:
    """The standard output of a command, which must succeed."""
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            "GENIR_TARGET": target,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stderr}"
    return done.stdout


def run_python(example: str, folder: Path, target: str) -> str:
    program = example.replace(DOCUMENTED_TARGET, target)
    return run([sys.executable, "-W", "error", "-c", program], folder, target)


def test_example_of_errors_is_truncated_and_then_refused(
    embedded_server: ServerProcess, tmp_path: Path
) -> None:
    [example] = [each for each in examples("python") if "TruncatedError" in each]
    output = run_python(example, tmp_path, embedded_server.target)
    assert re.match(r'raise max_tokens; the text so far: \{"text"', output)
    assert re.search(r"^True .+$", output, re.MULTILINE)
    assert re.search(r"^spec.max_tokens must be \d+ or more$", output, re.MULTILINE)


def test_command_line_examples_succeed(embedded_server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "verdict.schema.json").write_text(json.dumps(VERDICT))
    (tmp_path / "report.txt").write_text("It crashes when I press save.\n")
    commands = [line for block in examples("sh") for line in block.splitlines()]
    assert commands
    for command in commands:
        line = command.replace(DOCUMENTED_TARGET, embedded_server.target)
        run(["bash", "-c", line], tmp_path, embedded_server.target)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["label"] in VERDICT["properties"]["label"]["enum"]  # type: ignore[index]
    assert (tmp_path / "ci.token").read_text().startswith("genir_")


def test_deadline_leaves_text_but_no_usage(embedded_server: ServerProcess) -> None:
    essay = {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 10_000}},
        "required": ["text"],
    }
    with (
        IRClient(embedded_server.target) as client,
        pytest.raises(DeadlineExceededError) as raised,
    ):
        client.generate("Write an essay.", schema=essay, timeout=5, max_tokens=3_900)
    assert raised.value.raw_output.startswith("{")
    assert raised.value.usage is None
