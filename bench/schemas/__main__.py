"""Runs genir's schema layer, and vLLM without it, over a folder of schemas.

``python -m bench.schemas DATA OUT``. DATA holds JSON Lines files, one a data set; each line has
``id``, ``schema`` and ``tests`` (a list of instances with ``valid``). OUT is the result as JSON,
``OUT.md`` the same as Markdown tables. Beside them ``OUT.layer.jsonl``, ``OUT.guidance.jsonl`` and
``OUT.xgrammar.jsonl`` hold the result of every schema. An interrupted run resumes from them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.interruption import EXIT_CODE, treat_terminate_as_interrupt
from bench.schemas.corpus import cases
from bench.schemas.layer import measure_layer
from bench.schemas.plain import BACKENDS, COMPILE_SECONDS, measure_plain
from bench.schemas.report import grouped, layer_sums, markdown, plain_sums
from bench.schemas.rows import OtherRunError, Row, RowsFile
from bench.support.model_folder import tokenizer_in
from genir_server.engine.embedded_model import make_embedded_model
from genir_server.schema.limits import SchemaLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.schemas.corpus import Case

_PROGRESS_EVERY = 200


def main() -> int:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemas")
    parser.add_argument("data", type=Path, help="folder of JSON Lines files, one a data set")
    parser.add_argument("out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("--tokenizer", help="model folder; by default the embedded model's")
    parser.add_argument("--datasets", nargs="*", default=[], help="only these, by name")
    parser.add_argument(
        "--max-schemas", type=int, default=0, help="schemas of each data set; 0: all"
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument(
        "--plain",
        nargs="*",
        default=BACKENDS,
        choices=BACKENDS,
        help="vLLM's own backends to measure too",
    )
    parser.add_argument(
        "--xgrammar-max-schemas",
        type=int,
        default=20,
        help="schemas of each data set for xgrammar, which is slow; 0: all",
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses samples")
    parser.add_argument("--fresh", action="store_true", help="do not resume an earlier run")
    options = parser.parse_args()
    treat_terminate_as_interrupt()
    try:
        result = _Run(options).result()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_CODE
    except (OtherRunError, FileNotFoundError) as fault:
        print(fault, file=sys.stderr)
        return 2
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    tables = markdown(result)
    options.out.with_name(options.out.name + ".md").write_text(tables)
    print(tables)
    return 0


class _Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._tokenizer = options.tokenizer or str(make_embedded_model())
        self._wall: dict[str, float] = {}

    def result(self) -> Row:
        """Measures the schemas without a row, and sums everything up."""
        options = self._options
        versions = {name: importlib.metadata.version(name) for name in ("llguidance", "xgrammar")}
        result: Row = {}

        def layer(chosen: Iterator[Case], rows: RowsFile) -> None:
            asyncio.run(measure_layer(chosen, rows, tokenizer_in(self._tokenizer), options.workers))

        tokenizer = Path(self._tokenizer).name
        settings: Row = {"limits": asdict(SchemaLimits()), "tokenizer": tokenizer}
        rows = self._stage("layer", settings, options.max_schemas, layer)
        result |= grouped(rows, layer_sums)
        plain: Row = {}
        for backend in options.plain:
            settings = {"seconds": COMPILE_SECONDS[backend], "tokenizer": tokenizer}
            max_schemas = options.max_schemas
            if backend == "xgrammar" and options.xgrammar_max_schemas:
                max_schemas = min(max_schemas or sys.maxsize, options.xgrammar_max_schemas)

            def alone(chosen: Iterator[Case], rows: RowsFile, backend: str = backend) -> None:
                asyncio.run(measure_plain(chosen, rows, self._tokenizer, backend))

            plain[backend] = grouped(self._stage(backend, settings, max_schemas, alone), plain_sums)
        if plain:
            result["plain_vllm"] = plain
        result["versions"] = versions
        result["processors"] = os.cpu_count()
        # Time of this run alone. A resumed run counts only its own work.
        result["wall_seconds"] = self._wall
        return result

    def _stage(
        self,
        name: str,
        settings: Row,
        max_schemas: int,
        measure: Callable[[Iterator[Case], RowsFile], None],
    ) -> Sequence[Row]:
        options = self._options
        path = options.out.with_name(f"{options.out.name}.{name}.jsonl")
        settings |= {
            "max_schemas": max_schemas,
            "datasets": sorted(options.datasets),
            "seed": options.seed,
        }
        chosen = cases(options.data, options.datasets, max_schemas, options.seed)
        start = time.monotonic()
        with RowsFile(path, settings, fresh=options.fresh) as rows:
            measure(_reported(name, chosen), rows)
        self._wall[name] = round(time.monotonic() - start, 1)
        return rows.rows


def _reported(stage: str, chosen: Iterator[Case]) -> Iterator[Case]:
    """The same cases, with a progress line from time to time."""
    for number, case in enumerate(chosen, 1):
        if number % _PROGRESS_EVERY == 0:
            print(f"{stage}: {number} schemas, at {case.dataset}", file=sys.stderr, flush=True)
        yield case


if __name__ == "__main__":
    sys.exit(main())
