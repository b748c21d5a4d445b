"""Reads the public schemas: a folder of JSON Lines files, one a data set."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

JSON_SCHEMA_BENCH = frozenset(
    {
        "Glaiveai2K",
        "Github_trivial",
        "Github_easy",
        "Github_medium",
        "Github_hard",
        "Github_ultra",
        "Kubernetes",
        "Snowplow",
        "WashingtonPost",
        "JsonSchemaStore",
    }
)
"""Names of the ten data sets of JSONSchemaBench."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a schema, and whether its authors label it valid."""

    value: object
    valid: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One schema. `key` is unique in its folder; `text` is its JSON, keys in their own order."""

    key: str
    dataset: str
    text: str
    instances: tuple[Instance, ...]


def cases(
    folder: Path, datasets: Sequence[str] = (), max_schemas: int = 0, seed: int = 0
) -> Iterator[Case]:
    """The schemas of a folder, in a fixed order.

    Args:
        folder: holds ``NAME.jsonl`` files, each line with ``id``, ``schema`` and ``tests``: a list
            of objects with ``valid`` and ``data``.
        datasets: only these, by name; empty for all.
        max_schemas: maximum number of schemas per data set, the same for the same seed. 0 for all.
        seed: seed of the sample.

    Raises:
        FileNotFoundError: the folder has none of the files.

    """
    found = sorted(folder.glob("**/*.jsonl"))
    paths = [path for path in found if not datasets or path.stem in datasets]
    if not paths:
        raise FileNotFoundError(f"no data set in {folder}: NAME.jsonl files were expected")
    for path in paths:
        with path.open() as file:
            entries = [json.loads(line) for line in file]
        if max_schemas:
            entries = sorted(entries, key=lambda entry: rank(seed, str(entry["id"])))[:max_schemas]
        for entry in entries:
            yield Case(
                key=str(entry["id"]),
                dataset=path.stem,
                text=json.dumps(entry["schema"]),
                instances=instances(entry.get("tests")),
            )


def instances(tests: object) -> tuple[Instance, ...]:
    """The instances in a list of ``{"valid": …, "data": …}``. Empty for anything else."""
    if not isinstance(tests, list):
        return ()
    return tuple(
        Instance(test.get("data", test.get("instance")), bool(test["valid"])) for test in tests
    )


def rank(seed: int, key: str) -> str:
    """Sort key that shuffles schemas in the same way for the same seed."""
    return hashlib.sha256(f"{seed} {key}".encode()).hexdigest()
