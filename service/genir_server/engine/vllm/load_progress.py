"""Carries the progress of a load from the engine's processes to the server.

vLLM shows progress as bars of tqdm, which it prints in its processes: shards of any format, kernels
and graphs. It logs the beginning and the end of a compilation. While an engine starts there is a
folder in which each process writes its latest progress to a file of its own, instead of printing
it. The server reads the files every second.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import shutil
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genir_server.engine.protocol import LoadProgress, LoadStage
from genir_server.patch_table.fits import applies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_POLL_SECONDS = 1.0
_STAGES = {
    "load": LoadStage.WEIGHTS,
    "compil": LoadStage.COMPILATION,
    "warmup": LoadStage.COMPILATION,
    "captur": LoadStage.GRAPHS,
}
"""Stages by a part of what their bars are called. vLLM shows other things with bars, too."""
_ORDER = tuple(LoadStage)
_COMPILER_LOGGER = "vllm.compilation.monitor"
_COMPILATIONS = {"%sStarting torch.compile": 0, "%storch.compile took %.2f s in total": 1}
"""Compilations that are done, by the form of the message in vLLM's log."""


@asynccontextmanager
async def watched_load(on_progress: Callable[[LoadProgress], None] | None) -> AsyncIterator[str]:
    """Reports progress within the context; gives the path for `write_progress`.

    Args:
        on_progress: called in the event loop with each change, and not after the context.

    """
    folder = Path(tempfile.mkdtemp(prefix="genir-engine-load-"))
    seen: LoadProgress | None = None

    def report() -> None:
        nonlocal seen
        progress = read_progress(folder)
        if progress is not None and progress != seen and on_progress is not None:
            seen = progress
            on_progress(progress)

    async def poll() -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            report()

    polling = asyncio.create_task(poll(), name="load-progress")
    try:
        yield str(folder)
        report()
    finally:
        polling.cancel()
        shutil.rmtree(folder, ignore_errors=True)


def read_progress(folder: Path) -> LoadProgress | None:
    """The progress of the slowest process; None if there is none yet."""
    found = []
    for file in folder.glob("[0-9]*"):
        with suppress(OSError, ValueError):
            stage, done, total, unit = json.loads(file.read_text())
            found.append(LoadProgress(LoadStage(stage), done, total, unit))
    return min(
        found, key=lambda each: (_ORDER.index(each.stage), each.done / each.total), default=None
    )


def write_progress(folder: str) -> None:
    """The engine process's side: writes what shows the progress of a load to `folder`."""
    if not applies("load progress"):
        return

    def own_file() -> Path:
        # A forked worker has this function too.
        return Path(folder, str(os.getpid()))

    def write(progress: LoadProgress) -> None:
        values = (progress.stage, progress.done, progress.total, progress.unit)
        file = own_file()
        # After the start the folder is gone.
        with suppress(OSError):
            half_written = file.with_name(f".{file.name}")
            half_written.write_text(json.dumps(values))
            half_written.replace(file)

    def watch(record: logging.LogRecord) -> bool:
        done = _COMPILATIONS.get(str(record.msg))
        # Every worker compiles, but one shows bars: the others would seem to stay at this stage.
        if done is not None and own_file().exists():
            write(LoadProgress(LoadStage.COMPILATION, done, 1, "compilations"))
        return logging.getLogger().isEnabledFor(record.levelno)

    compiler = logging.getLogger(_COMPILER_LOGGER)
    # The messages are of this level, whatever the log shows.
    compiler.setLevel(logging.INFO)
    compiler.addFilter(watch)
    from tqdm.std import tqdm

    usual: Callable[..., object] = tqdm.display

    def display(bar: Any, *arguments: object, **keywords: object) -> object:  # noqa: ANN401
        progress = progress_of(bar.desc or "", bar.n, bar.total, bar.unit)
        if progress is None:
            return usual(bar, *arguments, **keywords)
        # The end of a bar would still print a line break.
        bar.fp = io.StringIO()
        write(progress)
        return True

    tqdm.display = display


def progress_of(title: str, done: float, total: float | None, unit: str) -> LoadProgress | None:
    """What a bar says of a load; None if it shows something else."""
    lowered = title.lower()
    stage = next((stage for part, stage in _STAGES.items() if part in lowered), None)
    if stage is None or not total:
        return None
    if unit == "it":  # tqdm's default.
        unit = "shards" if "shard" in lowered else "tensors"
    unit = {LoadStage.COMPILATION: "kernels", LoadStage.GRAPHS: "graphs"}.get(stage, unit)
    return LoadProgress(stage, min(int(done), int(total)), int(total), unit)
