"""The report for users with GPUs also runs on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.gpu_report.__main__ import main
from bench.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

TESTS = ["tests/e2e/test_numbers.py", "tests/e2e/test_max_tokens.py"]


def test_report_has_machine_start_and_tests(tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    code = main(
        [
            *("--out", str(out), "--model", str(make_tiny_model()), "--tests", *TESTS),
            *("--engine-args", f"kv_cache_memory_bytes={128 << 20}"),
            *("--parts", "machine", "check", "server"),
        ]
    )
    report = out.read_text()
    assert code == 0, report
    assert "vllm 0." in report
    # The lines of `genir serve --check` come before the server.
    assert report.index("\npatches: all ") < report.index("ready after")
    assert "\ntokenizer: " in report
    assert "passed" in report


def test_part_that_fails_is_in_the_report_and_the_exit_code(tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    arguments = ["--out", str(out), "--model", str(tmp_path / "missing"), "--parts"]
    assert main([*arguments, "check", "server", "machine"]) == 1
    report = out.read_text()
    assert report.count("This part failed.") == 2
    assert "Exit code 4." in report
    assert "does not exist" in report
    assert "## Machine" in report
