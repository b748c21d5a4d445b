"""`genir serve --check` says within seconds what a start would find, and loads nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench.support.tiny_model import make_tiny_adapter, make_tiny_model
from tests.support.hub import Hub

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 200.0
MANY = 64
"""More than the memory nodes of any machine that runs these tests."""


def check(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, list[str]]:
    """The exit code, the output, and what was written to standard error that is no warning."""
    ended = subprocess.run(
        [sys.executable, "-m", "genir_server", "--check", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    complaints = [line for line in ended.stderr.splitlines() if line.startswith("genir serve: ")]
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, complaints


def test_findings_are_printed(tmp_path: Path) -> None:
    folder = tmp_path / "thinker"
    shutil.copytree(make_tiny_model(), folder)
    template = folder / "chat_template.jinja"
    template.write_text(
        "{% for message in messages %}[{{ message.content }}]{% endfor %}"
        "{% if add_generation_prompt %}go <think>\n{% endif %}"
    )
    adapter = make_tiny_adapter(tmp_path / "adapter", rank=32)
    code, output, complaints = check("--model", str(folder), "--lora-adapters", f"mine={adapter}")
    assert (code, complaints) == (0, [])
    found = dict(line.split(": ", 1) for line in output.splitlines())
    assert found["model"] == "thinker (LlamaForCausalLM, bfloat16)"
    assert found["context"] == "4096 tokens"
    assert found["tokenizer"].endswith(" 49152 tokens")
    assert found["chat template"] == r"the model's own; an answer begins after ']go <think>\n'"
    assert found["thinking"].startswith("the prompt ends inside <think>")
    assert found["adapters"] == "mine"
    assert found["layout"] == "CPU, tensor parallel 1"
    assert found["memory"].startswith("0.01 GiB for weights, ")
    assert found["patches"].startswith("all ")
    assert found["jump-forward"] == "on"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--model", "/no/such/model"), 4, "the model folder /no/such/model does not exist"),
        (("--lora-adapters", "mine=/no/such"), 4, "the LoRA adapter mine is not at /no/such"),
        (("--max-model-len", "0"), 2, "max_model_len"),
        (
            ("--engine-args", f"tensor_parallel_size={MANY}"),
            4,
            f"tensor_parallel_size={MANY} has {MANY} processes on this machine",
        ),
    ],
)
def test_fault_ends_the_check_with_the_code_of_a_start(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, output, complaints = check(*arguments)
    assert (ended, output) == (code, "")
    assert len(complaints) == 1
    assert said in complaints[0]


def test_busy_port_ends_the_check() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, output, complaints = check("--port", port)
    assert (code, output) == (3, "")
    assert port in complaints[0]


def test_download_is_announced_and_not_made(tmp_path: Path) -> None:
    with Hub("owner/tiny", make_tiny_model()) as hub:
        code, output, _ = check(
            *("--model", "owner/tiny"), environment=hub.environment(tmp_path / "hub")
        )
    assert code == 0
    assert "disk: 0.01 GiB to download, " in output
    assert not list((tmp_path / "hub").rglob("*.safetensors"))
    assert list((tmp_path / "hub").rglob("tokenizer.json"))
