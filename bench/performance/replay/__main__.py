"""``python -m bench.performance.replay``: the front end alone, with recorded streams."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.performance import report, scopes
from bench.performance.replay.sweep import sweep

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.performance.replay", description=__doc__)
    parser.add_argument("--scope", choices=scopes.SCOPES, default="short")
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    arguments = parser.parse_args()
    carried = sweep(
        scopes.SCOPES[arguments.scope].replay, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if arguments.out:
        arguments.out.write_text(json.dumps({"replay": carried}, indent=1) + "\n")
    print(report.replay_table(carried))
