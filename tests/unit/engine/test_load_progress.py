"""The progress bars of the engine's processes reach the server."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.protocol import LoadProgress, LoadStage
from genir_server.engine.vllm import load_progress as module
from genir_server.engine.vllm.load_progress import (
    progress_of,
    read_progress,
    watched_load,
    write_progress,
)

SHARDS = "Loading safetensors checkpoint shards"
WEIGHTS, COMPILATION, GRAPHS = LoadStage

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("title", "unit", "expected"),
    [
        (SHARDS, "it", LoadProgress(WEIGHTS, 2, 5, "shards")),
        ("Loading pt checkpoint shards", "it", LoadProgress(WEIGHTS, 2, 5, "shards")),
        ("Multi-thread loading shards", "it", LoadProgress(WEIGHTS, 2, 5, "shards")),
        (
            "Loading safetensors using Runai Model Streamer",
            "it",
            LoadProgress(WEIGHTS, 2, 5, "tensors"),
        ),
        ("Capturing CUDA graphs (decode, FULL)", "it", LoadProgress(GRAPHS, 2, 5, "graphs")),
        ("Compiling CuTeDSL kernels", "it", LoadProgress(COMPILATION, 2, 5, "kernels")),
        ("[Aiter Triton] Pre-compiling kernel", "it", LoadProgress(COMPILATION, 2, 5, "kernels")),
        ("JIT kernel warmup (7 keys)", "kernel", LoadProgress(COMPILATION, 2, 5, "kernels")),
        ("DeepGEMM warmup", "it", LoadProgress(COMPILATION, 2, 5, "kernels")),
        ("Processed prompts", "it", None),
        ("", "it", None),
    ],
)
def test_bars_that_show_a_load(title: str, unit: str, expected: LoadProgress | None) -> None:
    assert progress_of(title, 2, 5, unit) == expected


@pytest.mark.parametrize("total", [None, 0])
def test_bar_without_a_total_says_nothing(total: int | None) -> None:
    assert progress_of(SHARDS, 2, total, "it") is None


def test_bar_beyond_its_total_is_done() -> None:
    assert progress_of(SHARDS, 7, 5, "it") == LoadProgress(WEIGHTS, 5, 5, "shards")


def load(folder: str, title: str, total: int) -> None:
    """Stands in for an engine process. The bar is the one that vLLM uses."""
    from tqdm.auto import tqdm

    write_progress(folder)
    for _ in tqdm(range(total), desc=title):
        pass


def in_a_process(target: Callable[..., None], *arguments: object) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def test_bar_is_written_and_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert in_a_process(load, str(tmp_path), SHARDS, 4) == 0
    assert read_progress(tmp_path) == LoadProgress(WEIGHTS, 4, 4, "shards")
    assert capfd.readouterr().err == ""


def test_other_bars_are_printed_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_a_process(load, str(tmp_path), "Something else", 4) == 0
    assert read_progress(tmp_path) is None
    assert "Something else" in capfd.readouterr().err


def test_bar_after_the_start_does_no_harm(tmp_path: Path) -> None:
    assert in_a_process(load, str(tmp_path / "removed"), SHARDS, 4) == 0


def write(folder: str | Path, pid: int, stage: str, done: int, total: int) -> None:
    Path(folder, str(pid)).write_text(json.dumps([stage, done, total, "shards"]))


def test_slowest_process_counts(tmp_path: Path) -> None:
    write(tmp_path, 11, "graphs", 0, 9)
    write(tmp_path, 12, "weights", 5, 10)
    write(tmp_path, 13, "weights", 3, 4)
    (tmp_path / ".14").write_text('["weights",0')
    (tmp_path / "15").write_text('["weights",0')
    assert read_progress(tmp_path) == LoadProgress(WEIGHTS, 5, 10, "shards")


async def test_changes_are_reported_and_the_last_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    seen: list[int] = []
    reported = asyncio.Event()

    def report(progress: LoadProgress) -> None:
        seen.append(progress.done)
        reported.set()

    async with watched_load(report) as folder:
        write(folder, 1, "weights", 1, 3)
        async with asyncio.timeout(20):
            await reported.wait()
        await asyncio.sleep(0.05)
        write(folder, 1, "weights", 3, 3)
    assert seen == [1, 3]
    assert not Path(folder).exists()


async def test_failed_start_leaves_nothing_behind() -> None:
    folder = ""

    async def start() -> None:
        nonlocal folder
        async with watched_load(None) as folder:
            write(folder, 1, "weights", 1, 3)
            raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        await start()
    assert folder
    assert not Path(folder).exists()
