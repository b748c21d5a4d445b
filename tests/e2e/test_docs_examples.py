"""The examples in the documentation run as they stand against a real server.

test_docs_client.py runs those of docs/client.md.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.docs_examples import blocks, run_python, run_shell

if TYPE_CHECKING:
    from pathlib import Path

    from bench.support.server_process import ServerProcess

VARYING = re.compile(
    r"gen-[0-9a-f]{32}"  # Request ids made by the server.
    r"|\d+(?:\.\d+)? ?m?s\b"  # Durations.
    r"|\s+"  # grpcurl varies the white space of details on purpose.
)
VARYING_FIELDS = {"ir_json", "ir_digest", "activity", "timings", "usage", "versions"}
"""Fields of responses whose values depend on the machine, the load or the model's text."""
VARYING_DURATIONS = {"phase_elapsed", "uptime", "canary_elapsed"}


def transcript(page: str) -> list[tuple[str, str]]:
    """The commands of a page's transcripts, here-documents included, each with its output."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, _, output = part.partition("\n")
            if here := re.search(r"<<'(\w+)'$", first):
                end = output.index(f"\n{here[1]}\n") + len(here[1]) + 2
                first, output = f"{first}\n{output[:end]}", output[end:]
            found.append((first, output))
    return found


def as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def assert_shown(documented: Any, actual: Any, field: str = "") -> None:
    """Asserts that a documented JSON value is what the server sent, but for what varies."""
    if isinstance(documented, dict):
        assert isinstance(actual, dict), field
        assert set(documented) <= set(actual) | VARYING_FIELDS, field
        for name in documented.keys() - VARYING_FIELDS - VARYING_DURATIONS:
            assert_shown(documented[name], actual[name], name)
    elif isinstance(documented, list):
        assert isinstance(actual, list), field
        for one, other in zip(documented, actual, strict=True):
            assert_shown(one, other, field)
    else:
        assert documented == actual, field


def test_readme_python_examples_run(embedded_server: ServerProcess, tmp_path: Path) -> None:
    examples = blocks("README.md", "python")
    assert examples
    for example in examples:
        done = run_python(example, tmp_path, embedded_server.target)
        assert done.returncode == 0, f"{example}\n{done.stderr}"


def test_readme_grpcurl_example_runs(embedded_server: ServerProcess, tmp_path: Path) -> None:
    (command,) = [block for block in blocks("README.md", "sh") if block.startswith("grpcurl")]
    done = run_shell(command, tmp_path, embedded_server.target)
    assert done.returncode == 0, done.stderr
    json.loads(json.loads(done.stdout)["ir_json"])


def test_readme_commands_are_those_that_the_demo_runs() -> None:
    from scripts import demo

    shown = {command for command, _ in transcript("README.md")} - {"make demo"}
    assert {shlex.join(("genir", *command)) for command in demo.COMMANDS} <= shown


@pytest.mark.parametrize("page", ["docs/grpcurl.md", "docs/schemas.md"])
def test_transcripts_show_what_the_commands_print(
    page: str, embedded_server: ServerProcess, tmp_path: Path
) -> None:
    commands = transcript(page)
    assert commands
    for command, output in commands:
        if file := re.fullmatch(r"cat (\S+)", command):
            (tmp_path / file[1]).write_text(output)
            continue
        done = run_shell(command, tmp_path, embedded_server.target)
        documented = as_json(output)
        if documented is not None:
            assert_shown(documented, as_json(done.stdout), command)
        else:
            # The report of `genir check-schema` goes to stderr when stdout is a pipe.
            actual = done.stderr if command.startswith("genir ") else done.stdout + done.stderr
            assert VARYING.sub("", actual) == VARYING.sub("", output), command
