"""The examples of docs/client.md run against a real server, with the outcomes that it describes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from genir import DeadlineExceededError, IRClient
from tests.support.docs_examples import blocks, run_python, run_shell

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from bench.support.server_process import ServerProcess

GUIDE = "docs/client.md"
VERDICT = {
    "type": "object",
    "properties": {"label": {"enum": ["bug", "question", "idea"]}},
    "required": ["label"],
    "additionalProperties": False,
}


PYTHON_EXAMPLES = blocks(GUIDE, "python")


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    """The standard output of a command, which must have succeeded."""
    assert done.returncode == 0, f"{done.args[-1]}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("number", range(len(PYTHON_EXAMPLES)))
def test_python_example_runs(number: int, embedded_server: ServerProcess, tmp_path: Path) -> None:
    output_of(run_python(PYTHON_EXAMPLES[number], tmp_path, embedded_server.target))


def test_example_of_errors_is_truncated_and_then_refused(
    embedded_server: ServerProcess, tmp_path: Path
) -> None:
    [example] = [each for each in PYTHON_EXAMPLES if "TruncatedError" in each]
    output = output_of(run_python(example, tmp_path, embedded_server.target))
    assert re.match(r'raise max_tokens; the text so far: \{"text"', output)
    assert re.search(r"^True .+$", output, re.MULTILINE)
    assert re.search(r"^spec.max_tokens must be \d+ or more$", output, re.MULTILINE)


def test_command_line_examples_succeed(embedded_server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "verdict.schema.json").write_text(json.dumps(VERDICT))
    (tmp_path / "report.txt").write_text("It crashes when I press save.\n")
    commands = [line for block in blocks(GUIDE, "sh") for line in block.splitlines()]
    assert commands
    for command in commands:
        output_of(run_shell(command, tmp_path, embedded_server.target))
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
