"""A compilation by vLLM shows in the progress of a load."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from genir_server.engine.protocol import LoadProgress, LoadStage
from genir_server.engine.vllm.load_progress import read_progress

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = textwrap.dedent("""
    import sys, warnings
    warnings.simplefilter("ignore")
    from types import SimpleNamespace
    from genir_server.engine.vllm.environment import prepare_environment
    prepare_environment()
    from vllm.compilation.monitor import monitor_torch_compile
    from vllm.config import CompilationMode
    from genir_server.engine.vllm.load_progress import read_progress, write_progress
    from pathlib import Path
    from tqdm.auto import tqdm

    folder = sys.argv[1]
    write_progress(folder)
    compilation = SimpleNamespace(mode=CompilationMode.VLLM_COMPILE, compilation_time=0.0)
    config = SimpleNamespace(
        compilation_config=compilation, compile_debug_dump_path=lambda: None
    )
    def compile_once():
        with monitor_torch_compile(config):
            print(read_progress(Path(folder)))
        print(read_progress(Path(folder)))

    compile_once()
    for _ in tqdm(range(2), desc="Loading safetensors checkpoint shards"):
        pass
    compile_once()
""")


def test_beginning_and_end_of_a_compilation_are_shown_after_a_bar(tmp_path: Path) -> None:
    """A worker that shows no bars would seem to stay at this stage."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    compiling = LoadProgress(LoadStage.COMPILATION, 0, 1, "compilations")
    compiled = LoadProgress(LoadStage.COMPILATION, 1, 1, "compilations")
    shown = [None, None, compiling, compiled]
    assert ended.stdout.splitlines()[-4:] == [repr(each) for each in shown]
    assert read_progress(tmp_path) == compiled
