"""``python -m bench.gpu_report --out report.md``: how genir runs with a model on this machine.

Describes the machine, checks the settings as ``genir serve --check`` does, starts a server, runs
the end-to-end tests that hold with every model, then compares front ends and structured-output
backends. Writes one Markdown file, which has no prompts and no paths but the model's. A part that
fails is in the report, and the exit code is 1.
On a GPU it takes the time of six loads of the model and some minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.gpu_report import parts
from bench.gpu_report.options import Options
from bench.performance import scopes

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS: dict[str, tuple[str, Callable[[Options, Path], str]]] = {
    "machine": ("Machine", parts.machine),
    "check": ("Check before the start", parts.check),
    "server": ("Server and tests", parts.server),
    "front_ends": ("Front ends", parts.front_ends),
    "backends": ("Structured-output backends", parts.backends),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the parts, writes the report after each, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_report", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu-report.md"))
    parser.add_argument("--model", help="folder or Hub name; by default the embedded model")
    parser.add_argument("--max-model-len", type=int, default=4096, help="context in tokens")
    parser.add_argument("--engine-args", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--scope", choices=scopes.SCOPES, default="short")
    parser.add_argument("--prompts", type=int, default=20, help="for each backend")
    parser.add_argument("--tests", nargs="+", default=["tests/e2e"], help="files or folders")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    given = parser.parse_args(arguments)
    options = Options(
        given.model,
        given.max_model_len,
        tuple(given.engine_args),
        given.scope,
        given.prompts,
        tuple(given.tests),
    )
    said = " ".join(options.server_arguments())
    report = [f"# genir: report\n\n`genir serve {said}`"]
    failed = []
    for name in given.parts:
        title, part = _PARTS[name]
        began = time.monotonic()
        print(f"{title} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="genir-report-") as folder:
            try:
                text = part(options, Path(folder))
            except parts.PartError as error:
                failed.append(name)
                text = f"**This part failed.**\n\n{error}"
        seconds = time.monotonic() - began
        report.append(f"## {title}\n\n{text}\n\n({seconds:.0f} s)")
        given.out.write_text("\n\n".join(report) + "\n")
    print(f"{given.out}: {'failed: ' + ', '.join(failed) if failed else 'all parts ran'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
