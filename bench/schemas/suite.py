"""Runs genir's schema layer over JSON-Schema-Test-Suite.

``python -m bench.schemas.suite TESTS OUT``. TESTS is the folder of one draft, such as
``tests/draft2020-12``: JSON files, each a list of groups of one schema and its tests. A group is
under-constrained when both the engine's schema and the verifier accept an instance that its tests
label invalid. It is lost when one of them refuses an instance labelled valid.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.schemas.corpus import Case, instances
from bench.schemas.layer import measure_layer
from bench.schemas.report import as_list, layer_sums, share, table
from bench.schemas.rows import Row, RowsFile
from bench.support.model_folder import tokenizer_in
from genir_server.engine.embedded_model import make_embedded_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main() -> int:
    """Reads the arguments and runs. Ends with 1 when a group is under-constrained."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemas.suite")
    parser.add_argument("tests", type=Path, help="folder of one draft's tests")
    parser.add_argument("out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("--tokenizer", help="model folder; by default the embedded model's")
    parser.add_argument("--optional", action="store_true", help="the optional tests as well")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    options = parser.parse_args()
    tokenizer = options.tokenizer or str(make_embedded_model())
    groups = list(_groups(options.tests, optional=options.optional))
    if not groups:
        print(f"no tests in {options.tests}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, RowsFile(Path(folder) / "rows", {}) as rows:
        asyncio.run(measure_layer(groups, rows, tokenizer_in(tokenizer), options.workers))
        result = _result(rows.rows)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    tables = _markdown(result)
    options.out.with_name(options.out.name + ".md").write_text(tables)
    print(tables)
    return 1 if result["under_constrained"] else 0


def _groups(folder: Path, *, optional: bool) -> Iterator[Case]:
    for path in sorted(folder.glob("**/*.json" if optional else "*.json")):
        name = str(path.relative_to(folder).with_suffix(""))
        for number, group in enumerate(json.loads(path.read_text())):
            yield Case(
                key=f"{name} {number}: {group['description']}",
                dataset=name,
                text=json.dumps(_with_draft(group["schema"], folder.name)),
                instances=instances(group["tests"]),
            )


_DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


def _with_draft(schema: object, folder: str) -> object:
    """The schema with the draft that its folder stands for, which most tests leave out."""
    if not isinstance(schema, dict) or folder not in _DRAFTS:
        return schema
    return {"$schema": _DRAFTS[folder], **schema}


def _result(rows: Sequence[Row]) -> Row:
    accepted = [row for row in rows if "reason" not in row]
    sums = layer_sums(rows)
    sums["groups"] = sums.pop("schemas")
    return {
        **sums,
        "under_constrained": [row["id"] for row in accepted if row["invalid_passed"]],
        "lost": [
            {"group": row["id"], "instances": row["valid_lost"]}
            for row in accepted
            if row["valid_lost"]
        ],
        "refused_groups": [
            {"group": row["id"], "reason": row["reason"], "message": row["message"]}
            for row in rows
            if "reason" in row
        ],
    }


def _markdown(result: Row) -> str:
    groups = result["groups"]
    sums = (
        groups,
        share(result["accepted"], groups),
        share(result["exact"], groups),
        result["relaxed"],
        result["refused"],
        len(as_list(result["under_constrained"])),
        len(as_list(result["lost"])),
        f"{result['invalid_passed']} of {result['invalid']}",
        f"{result['valid_lost']} of {result['valid']}",
    )
    head = ("groups", "accepted", "exact", "relaxed", "refused", "under-constrained", "lost")
    tables = [table((*head, "invalid passed", "valid lost"), [sums])]
    lost = [(of["group"], of["instances"]) for of in _dicts(result["lost"])]
    if lost:
        tables.append(table(("lost", "instances, and what refuses them"), lost))
    refused = [
        (of["group"], of["reason"], str(of["message"]).replace("|", "\\|").replace("\n", " "))
        for of in _dicts(result["refused_groups"])
    ]
    if refused:
        tables.append(table(("refused", "reason", "message"), refused))
    return "\n\n".join(tables) + "\n"


def _dicts(value: object) -> list[Row]:
    return value if isinstance(value, list) else []


if __name__ == "__main__":
    sys.exit(main())
