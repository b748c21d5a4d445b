"""Every part of the report for users with GPUs, on the tiny model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.gpu_report.__main__ import main
from bench.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(1800)
def test_every_part_runs(tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    code = main(
        [
            *("--out", str(out), "--model", str(make_tiny_model())),
            *("--engine-args", f"kv_cache_memory_bytes={128 << 20}"),
            *("--scope", "tiny", "--prompts", "2"),
        ]
    )
    report = out.read_text()
    assert code == 0, report
    assert report.count("## ") >= 5
    assert "| 1 | vLLM HTTP | stream |" in report
    assert "| xgrammar | xgrammar |" in report
